// Rows of the list of runs.

/** What the addresses of the run that an element of a row belongs to have, as its link has it. */
export const keyOf = (element) => element.closest("tr").querySelector("a.what").pathname.split("/").at(-2);
