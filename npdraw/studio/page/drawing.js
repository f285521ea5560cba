// Drawings, and where their strokes can be. Drawings are immutable: an edit returns a new one.

/** Strokes by step, and the locked steps, which resampling keeps. */
export class Drawing {
  constructor(strokes = new Map(), locked = new Set()) {
    this.strokes = strokes;
    this.locked = locked;
  }

  /** Read the JSON that npdraw writes; it does not contain locks. */
  static of(json, locked = new Set()) {
    return new Drawing(new Map(json.strokes.map((stroke) => [stroke.step, stroke])), locked);
  }

  /** The strokes in the order in which they are painted. */
  get ordered() {
    return [...this.strokes.values()].sort((a, b) => a.step - b.step);
  }

  /** Return JSON for npdraw with the first `count` strokes; `blank` is the JSON of no strokes. */
  json(blank, count = Infinity) {
    return { ...blank, strokes: this.ordered.slice(0, count) };
  }

  put(stroke) {
    return new Drawing(new Map(this.strokes).set(stroke.step, stroke), this.locked);
  }

  /** Return the drawing without the stroke and the lock of a step. */
  remove(step) {
    const strokes = new Map(this.strokes);
    const locked = new Set(this.locked);
    strokes.delete(step);
    locked.delete(step);
    return new Drawing(strokes, locked);
  }

  /** Return the drawing with the stroke of a step, and its lock, moved to another place. */
  move(step, place) {
    const moved = this.remove(step).put({ ...this.strokes.get(step), ...place });
    return this.locked.has(step) ? moved.lock([place.step], true) : moved;
  }

  lock(steps, on) {
    const locked = new Set(this.locked);
    for (const step of steps) {
      if (on) locked.add(step);
      else locked.delete(step);
    }
    return new Drawing(this.strokes, locked);
  }
}

/** What a stroke paints, in words. */
export function described({ part, ink, contrast }) {
  return ink === undefined ? `part ${part}` : `part ${part}, ink ${ink}, contrast ${contrast}`;
}

/** Where parts can be placed, layer by layer; lengths are in pixels of the canvas. */
export class Layout {
  constructor(facts) {
    this.layers = facts.layers;
    this.positions = facts.positions;
    [this.height, this.width] = facts.canvas;
  }

  /** The layer of a step. */
  layer(step) {
    return this.layers.findLastIndex(({ first }) => step >= first);
  }

  /** The steps of a layer. */
  steps(layer) {
    const { first, rows, columns } = this.layers[layer];
    return Array.from({ length: rows * columns }, (_, number) => first + number);
  }

  /** The side of the parts of a layer. */
  part(layer) {
    return this.layers[layer].part_size;
  }

  /** The name of the size of the parts of a layer; several layers may have one size. */
  size(layer) {
    const sides = this.layers.map(({ part_size: side }) => side);
    const sizes = [...new Set(sides)];
    const names = { 1: ["equal"], 2: ["large", "small"], 3: ["large", "medium", "small"] };
    const place = sizes.indexOf(sides[layer]);
    const name = names[sizes.length]?.[place] ?? `size ${place + 1}`;
    const number = sides.slice(0, layer + 1).filter((side) => side === sides[layer]).length;
    const alone = sides.filter((side) => side === sides[layer]).length === 1;
    return alone ? name : `${name} ${number}`;
  }

  /** The square of a step's cell: the centre of the area that its placements cover. */
  cell(step) {
    const { stride, window } = this.layers[this.layer(step)];
    const [top, left] = this.positions[step][0];
    const margin = (window - stride) / 2;
    return { top: top + margin, left: left + margin, side: stride };
  }

  /** The step of a layer whose cell contains a point, or the nearest one. */
  at(row, column, layer) {
    const { first, rows, columns } = this.layers[layer];
    const { top, left, side } = this.cell(first);
    const nearest = (value, count) => Math.max(0, Math.min(count - 1, Math.floor(value)));
    const y = nearest((row - top) / side, rows);
    return first + y * columns + nearest((column - left) / side, columns);
  }

  /** The step of a layer whose cell contains the centre of a cell of any layer. */
  counterpart(step, layer) {
    const { top, left, side } = this.cell(step);
    return this.at(top + side / 2, left + side / 2, layer);
  }

  /** The place, of one of the steps, where a part is centred nearest to a point. */
  place(row, column, steps) {
    const half = this.part(this.layer(steps[0])) / 2;
    let best = null;
    for (const candidate of steps) {
      for (const [top, left] of this.positions[candidate]) {
        const y = top + half - row;
        const x = left + half - column;
        const distance = y * y + x * x;
        if (best === null || distance < best.distance) {
          best = { distance, step: candidate, row: top, column: left };
        }
      }
    }
    return { step: best.step, row: best.row, column: best.column };
  }

  /** The last painted stroke of a layer that covers a point; undefined if none does. */
  stroke(strokes, row, column, layer) {
    const side = this.part(layer);
    const covers = (s) => row >= s.row && row < s.row + side && column >= s.column && column < s.column + side;
    return strokes.findLast((s) => covers(s) && this.layer(s.step) === layer);
  }

  /** The steps of the cells in the rectangle between two of one layer; of other layers, too. */
  between(one, other) {
    const layer = this.layer(one);
    const { first, columns } = this.layers[layer];
    const [top, bottom] = this.#sorted(one, other, (step) => Math.floor((step - first) / columns));
    const [left, right] = this.#sorted(one, other, (step) => (step - first) % columns);
    const steps = [];
    for (let row = top; row <= bottom; row += 1) {
      for (let column = left; column <= right; column += 1) steps.push(first + row * columns + column);
    }
    const start = this.#visible(steps[0]);
    const end = this.#visible(steps.at(-1));
    const inside = (step) => {
      const cell = this.#visible(step);
      const below = cell.top >= start.top && cell.bottom <= end.bottom;
      return below && cell.left >= start.left && cell.right <= end.right;
    };
    const others = [...this.layers.keys()].filter((number) => number !== layer);
    return [...steps, ...others.flatMap((number) => this.steps(number).filter(inside))];
  }

  #sorted(one, other, coordinate) {
    return [coordinate(one), coordinate(other)].sort((a, b) => a - b);
  }

  /** The edges of a cell, as far as it is on the canvas. */
  #visible(step) {
    const { top, left, side } = this.cell(step);
    return {
      top: Math.max(0, top),
      bottom: Math.min(this.height, top + side),
      left: Math.max(0, left),
      right: Math.min(this.width, left + side),
    };
  }

  /** The neighbouring step in the direction of a key; the step itself at an edge. */
  neighbour(step, key) {
    const { first, rows, columns } = this.layers[this.layer(step)];
    const row = Math.floor((step - first) / columns);
    const column = (step - first) % columns;
    const clamp = (value, count) => Math.max(0, Math.min(count - 1, value));
    const [y, x] = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [row, 0],
      End: [row, columns - 1],
    }[key];
    return first + clamp(y, rows) * columns + clamp(x, columns);
  }

  /** The name of a cell on the page, counted from 1. */
  name(step) {
    const layer = this.layer(step);
    const { first, columns } = this.layers[layer];
    const row = Math.floor((step - first) / columns);
    const size = this.layers.length > 1 ? ` (${this.size(layer)})` : "";
    return `row ${row + 1}, column ${((step - first) % columns) + 1}${size}`;
  }
}

/** Earlier drawings to undo to, and undone ones to redo. */
export class History {
  #before = [];
  #after = [];

  get canUndo() {
    return this.#before.length > 0;
  }

  get canRedo() {
    return this.#after.length > 0;
  }

  /** Record a drawing that is about to be replaced, and the edit that replaces it. */
  note(drawing, what) {
    this.#before.push({ drawing, what });
    this.#after = [];
  }

  /** Return the previous drawing and the edit that is undone; `drawing` is the present one. */
  undo(drawing) {
    const { drawing: other, what } = this.#before.pop();
    this.#after.push({ drawing, what });
    return { drawing: other, what };
  }

  redo(drawing) {
    const { drawing: other, what } = this.#after.pop();
    this.#before.push({ drawing, what });
    return { drawing: other, what };
  }
}
