// The runs before and after this one, in the list from which it was opened; else in its catalog.
const LIST = "list"; // of this tab: the filters of the list that runs are read from

/** The list's query: of the page that led here, or as kept while one goes from run to run. */
export function listQuery(referrer, kept) {
  const from = referrer ? new URL(referrer) : null;
  if (from?.origin !== location.origin || from.pathname !== "/runs/") return kept;
  const query = new URLSearchParams(from.search);
  query.delete("cursor");
  return query.toString();
}

export async function showNeighbours(place) {
  if (!place) return;
  const kept = sessionStorage.getItem(LIST);
  const query = listQuery(document.referrer, kept);
  if (query !== null) sessionStorage.setItem(LIST, query);
  const own = new URLSearchParams({ catalog: place.dataset.catalog }).toString();
  // A list that is not understood any more is none.
  const answer = (query !== null && (await links(place, query))) || (await links(place, own));
  if (answer) place.replaceChildren(...answer.childNodes);
}

async function links(place, query) {
  const response = await fetch(`${place.dataset.neighbours}?${query}`, { credentials: "same-origin" }).catch(() => null);
  if (!response?.ok) return null;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const found = page.getElementById("neighbours");
  return found && document.adoptNode(found);
}
