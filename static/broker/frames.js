// Arrays in a picture: detector frames one at a time, or a field of one axis over all events.
import { lazily } from "./lazily.js";
import "./viewer.css";

export const Frames = lazily(() => import("./viewer/index.js").then((viewer) => viewer.Frames));
export const Spectra = lazily(() => import("./viewer/index.js").then((viewer) => viewer.Spectra));
