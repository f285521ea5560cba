// Drawing B: cells selected with pointer or keyboard are painted onto A.

import * as api from "./api.js";
import { draggable } from "./drag.js";
import { Drawing } from "./drawing.js";

/** A drawing to copy cells from; `paint(drawing, cells)` paints them onto the other one. */
export class Region {
  constructor({ layout, grid, other, picture, status, paint }) {
    Object.assign(this, { layout, grid, other, picture, status });
    this.paint = paint;
    this.drawing = null; // JSON
    this.anchor = null; // the cell where the selection started
    grid.element.ariaMultiSelectable = "true";
    grid.onMove = (step, shift) => this.#extend(step, shift);
    draggable(grid.element, (event) => this.#pressed(event));
    grid.element.addEventListener("keydown", (event) => this.#key(event));
    grid.element.addEventListener("focusout", () => this.#choose([]));
  }

  /** Show the drawing that the server returns; return whether that was done. */
  async take(asked, what) {
    this.status.say("Loading drawing B …");
    try {
      const reply = await asked;
      await this.show(reply);
      this.status.say(`${what} loaded as drawing B.`);
      return true;
    } catch (error) {
      this.status.fail(error);
      return false;
    }
  }

  async show(reply) {
    this.drawing = reply.drawing;
    const strokes = reply.drawing.strokes.length;
    this.picture.src = reply.canvas;
    this.picture.alt = `Canvas of drawing B, ${strokes} strokes`;
    this.grid.show(Drawing.of(reply.drawing));
    await this.picture.decode().catch(() => {}); // replaced by a later picture
  }

  #choose(steps) {
    this.chosen = steps;
    this.grid.mark("chosen", steps);
    this.other.mark("chosen", steps);
  }

  #cell(event) {
    const { row, column } = this.grid.point(event);
    return this.layout.at(row, column, this.grid.layer);
  }

  #pressed(event) {
    event.preventDefault();
    if (!this.drawing) return null;
    const first = this.#cell(event);
    this.grid.setCursor(first, true);
    this.#choose(this.layout.between(first, first));
    const drop = () => this.#paint();
    return {
      move: (moved) => this.#choose(this.layout.between(first, this.#cell(moved))),
      drop,
      click: drop,
      cancel: () => this.#choose([]),
    };
  }

  #extend(step, shift) {
    if (!shift) this.anchor = step;
    this.anchor ??= step;
    this.#choose(this.layout.between(this.anchor, step));
    if (shift) this.status.say(`${this.chosen.length} cells selected. Press Enter to paint them onto A.`);
  }

  #key(event) {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      const { cursor } = this.grid;
      if (!this.chosen?.length) this.#choose(this.layout.between(cursor, cursor));
      this.#paint();
    } else if (event.key === "Escape") {
      this.#choose([]);
    } else if (event.key === "Shift") {
      this.anchor = this.chosen?.length ? this.anchor : this.grid.cursor;
    }
  }

  #paint() {
    const cells = this.chosen;
    this.anchor = null;
    this.#choose([]);
    if (this.drawing && cells.length) this.paint(this.drawing, cells);
  }
}
