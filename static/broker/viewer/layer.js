// Values at their places, painted in colours: a whole frame, or a part of it in more detail.
import { isShown } from "./scale.js";

export class Layer {
  /** x, y: Axis; values: row by row. colours: {values, channels} of a picture that has its own. */
  constructor({ x, y, values, colours = null }) {
    Object.assign(this, { x, y, values, colours });
    this.canvas = document.createElement("canvas");
    Object.assign(this.canvas, { width: x.count, height: y.count });
  }

  has(x, y) {
    return this.x.has(x) && this.y.has(y);
  }

  at(row, column) {
    return this.values[row * this.x.count + column];
  }

  valueAt(x, y) {
    return this.at(this.y.cellAt(y), this.x.cellAt(x));
  }

  /** look: {name (of all that follows), table (colours), scale, above (the limit of the mask)}. */
  paint(look) {
    if (this.painted === look.name) return;
    this.painted = look.name;
    const pixels = new ImageData(this.x.count, this.y.count);
    if (this.colours) this.paintColours(pixels.data, look);
    else this.paintValues(new Uint32Array(pixels.data.buffer), look);
    this.canvas.getContext("2d").putImageData(pixels, 0, 0);
  }

  paintValues(pixels, { table, scale, above }) {
    const colours = new Uint32Array(table.buffer);
    for (let i = 0; i < pixels.length; i++) {
      const value = this.values[i];
      if (!isShown(value, above)) continue; // see-through
      pixels[i] = colours[Math.max(0, Math.min(255, Math.round(scale.to(value) * 255)))];
    }
  }

  paintColours(pixels, { scale, above }) {
    const { values, channels } = this.colours;
    for (let i = 0; i < this.values.length; i++) {
      if (!isShown(this.values[i], above)) continue;
      for (let channel = 0; channel < 3; channel++) pixels[4 * i + channel] = scale.to(values[i * channels + channel]) * 255;
      pixels[4 * i + 3] = 255;
    }
  }

  /** Draws it; placeX, placeY: the px of the canvas that a place on an axis is at. */
  draw(context, placeX, placeY) {
    const even = !this.x.bounds && !this.y.bounds;
    const [left, right, top, bottom] = [placeX(this.x.start), placeX(this.x.end), placeY(this.y.start), placeY(this.y.end)];
    context.imageSmoothingEnabled = right - left < this.x.count; // several cells a px
    context.imageSmoothingQuality = "medium";
    if (even) stretch(context, this.canvas, left, top, right - left, bottom - top);
    else this.drawUneven(context, placeX, placeY);
  }

  /** Columns first, at their true widths, then rows at their heights. */
  drawUneven(context, placeX, placeY) {
    const wide = document.createElement("canvas");
    Object.assign(wide, { width: context.canvas.width, height: this.y.count });
    const columns = wide.getContext("2d");
    columns.imageSmoothingEnabled = context.imageSmoothingEnabled = false;
    for (let i = 0; i < this.x.count; i++) {
      const [from, to] = [Math.round(placeX(this.x.edge(i))), Math.round(placeX(this.x.edge(i + 1)))];
      columns.drawImage(this.canvas, i, 0, 1, this.y.count, from, 0, to - from, this.y.count);
    }
    for (let i = 0; i < this.y.count; i++) {
      const [from, to] = [Math.round(placeY(this.y.edge(i))), Math.round(placeY(this.y.edge(i + 1)))];
      context.drawImage(wide, 0, i, wide.width, 1, 0, Math.min(from, to), wide.width, Math.abs(to - from));
    }
  }
}

/** Draws an image in a box whose height may be negative: then upside down. */
function stretch(context, image, left, top, width, height) {
  context.save();
  context.translate(left, top);
  context.scale(1, Math.sign(height));
  context.drawImage(image, 0, 0, image.width, image.height, 0, 0, width, Math.abs(height));
  context.restore();
}
