// The cells over a canvas, of one layer at a time: their marks, pointer and keyboard navigation.

import { described } from "./drawing.js";

const DIRECTIONS = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"];

/** A grid of cells over the picture of `stage`; Tab leads to one cell, the cursor. */
export class Grid {
  constructor(stage, layout, { label, help }) {
    this.stage = stage;
    this.layout = layout;
    this.layer = 0;
    this.cursor = 0;
    this.cells = [];
    this.rows = []; // by layer
    /** Called with the cell that a key moved to, and whether Shift was down. */
    this.onMove = () => {};
    this.element = document.createElement("div");
    this.element.className = "grid";
    this.element.role = "grid";
    this.element.ariaLabel = label;
    this.element.setAttribute("aria-describedby", help);
    stage.style.aspectRatio = `${layout.width} / ${layout.height}`;
    for (const { first, rows, columns } of layout.layers) {
      const lines = [];
      for (let row = 0; row < rows; row += 1) {
        const line = document.createElement("div");
        line.role = "row";
        for (let column = 0; column < columns; column += 1) {
          line.append(this.#cell(first + row * columns + column));
        }
        lines.push(line);
      }
      this.element.append(...lines);
      this.rows.push(lines);
    }
    this.setLayer(0);
    stage.append(this.element);
    this.element.addEventListener("keydown", (event) => this.#move(event));
    this.element.addEventListener("focusin", (event) => {
      this.setCursor(Number(event.target.dataset.step));
    });
    this.setCursor(0);
  }

  #cell(step) {
    const { top, left, side } = this.layout.cell(step);
    const cell = document.createElement("div");
    cell.role = "gridcell";
    cell.tabIndex = -1;
    cell.dataset.step = step;
    Object.assign(cell.style, this.#box(top, left, side));
    this.cells.push(cell);
    return cell;
  }

  #box(top, left, side) {
    const { height, width } = this.layout;
    return {
      top: `${(100 * top) / height}%`,
      left: `${(100 * left) / width}%`,
      height: `${(100 * side) / height}%`,
      width: `${(100 * side) / width}%`,
    };
  }

  /** Show the cells of one layer, and of the others only the one painted last. */
  setLayer(layer) {
    this.layer = layer;
    for (const [number, lines] of this.rows.entries()) {
      for (const line of lines) line.classList.toggle("off", number !== layer);
    }
    if (this.layout.layer(this.cursor) !== layer) {
      this.setCursor(this.layout.counterpart(this.cursor, layer));
    }
  }

  setCursor(step, focus = false) {
    this.cells[this.cursor].tabIndex = -1;
    this.cells[this.cursor].removeAttribute("aria-current");
    this.cursor = step;
    this.cells[step].tabIndex = 0;
    this.cells[step].setAttribute("aria-current", "true");
    if (focus) this.cells[step].focus({ preventScroll: true });
  }

  #move(event) {
    if (!DIRECTIONS.includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.setCursor(this.layout.neighbour(this.cursor, event.key), true);
    this.onMove(this.cursor, event.shiftKey);
  }

  /** Show which cells are painted or locked, and which one was painted last. */
  show(drawing, latest = null) {
    for (const [step, cell] of this.cells.entries()) {
      const stroke = drawing.strokes.get(step);
      const locked = drawing.locked.has(step);
      cell.classList.toggle("painted", stroke !== undefined);
      cell.classList.toggle("locked", locked);
      cell.classList.toggle("latest", step === latest);
      const content = stroke === undefined ? "blank" : described(stroke);
      cell.ariaLabel = `${this.layout.name(step)}: ${content}${locked ? ", locked" : ""}`;
    }
  }

  /** Mark these cells, and no others, with a class. */
  mark(name, steps) {
    const marked = new Set(steps);
    for (const [step, cell] of this.cells.entries()) {
      cell.classList.toggle(name, marked.has(step));
      if (name === "chosen") cell.ariaSelected = marked.has(step) ? "true" : null;
    }
  }

  /** Page pixels per canvas pixel. */
  get scale() {
    return this.element.getBoundingClientRect().width / this.layout.width;
  }

  /** Row and column of the pointer, in canvas pixels, and whether it is over the canvas. */
  point(event) {
    const box = this.element.getBoundingClientRect();
    const row = (event.clientY - box.top) / this.scale;
    const column = (event.clientX - box.left) / this.scale;
    const slack = this.layout.part(this.layer) / 2; // a part half beyond the edge still counts as on the canvas
    const within = (value, size) => value >= -slack && value < size + slack;
    const over = within(row, this.layout.height) && within(column, this.layout.width);
    return { row, column, over };
  }
}
