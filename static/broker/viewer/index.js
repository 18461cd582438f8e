// What is fetched when a picture comes into view, in one piece.
export { Frames } from "./frames.js";
export { Grid } from "./map.js";
export { Spectra } from "./spectra.js";
