// A scan of two motors: a map where the measured positions make a grid, else curves.
import { lazily } from "./lazily.js";
import "./viewer.css";

export const Grid = lazily(() => import("./viewer/index.js").then((viewer) => viewer.Grid));
