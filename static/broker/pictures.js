// Thumbnails of the list are asked for when they come into view, a few at once.
import { keyOf } from "./rows.js";

const AT_ONCE = 4;
const waiting = [];
let running = 0;

function next() {
  while (running < AT_ONCE && waiting.length) {
    const image = waiting.shift();
    if (!image.isConnected || image.src) continue;
    running += 1;
    const done = () => {
      running -= 1;
      next();
    };
    image.addEventListener("load", done, { once: true });
    image.addEventListener("error", done, { once: true });
    image.src = `/api/v1/headers/${keyOf(image)}/thumbnail/`;
  }
}

const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    waiting.push(target);
  }
  next();
});

export function showPictures() {
  for (const image of document.querySelectorAll("img[data-picture]:not([src])")) seen.observe(image);
}
