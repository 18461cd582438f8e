// The event that is looked at, of one stream: its frame is shown, its point is marked on curves and maps.
// Events are counted from 0 in the order of the table. They travel as DOM events of the stream's section.

const SHOWN = "event-shown"; // {event, field}: a frame of it is shown
const CHOSEN = "event-chosen"; // {event}: a point of it was clicked

const streamOf = (element) => element.closest("[data-stream]") ?? element;

const announce = (element, name, detail) => streamOf(element).dispatchEvent(new CustomEvent(name, { detail }));

/** Says that the frame of an event is shown now. */
export const tellShown = (element, event, field) => announce(element, SHOWN, { event, field });

/** Asks for the frame of an event. */
export const choose = (element, event) => announce(element, CHOSEN, { event });

/** Calls back with the event whose frame is shown. */
export const onShown = (element, callback) => streamOf(element).addEventListener(SHOWN, ({ detail }) => callback(detail.event));

/** Calls back with the event whose point was clicked. */
export const onChosen = (element, callback) => streamOf(element).addEventListener(CHOSEN, ({ detail }) => callback(detail.event));
