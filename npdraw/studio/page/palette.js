// The size, ink and contrast of new strokes, or of the selected one; parts without ink have none.

import { Options } from "./options.js";

const GREYISH = 24; // difference of the levels of red, green and blue up to which a colour is grey

/** The palette in the page. `onLayer()` and `onPick()` are called when the user chooses. */
export class Palette {
  constructor(layout, { onLayer, onPick }) {
    const find = (id) => document.getElementById(id);
    this.layout = layout;
    this.layer = 0;
    this.onLayer = onLayer;
    this.onPick = onPick;
    const { inks, contrasts } = layout.layers[0];
    this.inked = inks.length > 0;
    if (!this.inked) return;
    find("palette").hidden = false;
    this.orders = layout.layers.map((layer) => ordered(layer.inks));
    const middle = Math.floor(contrasts.length / 2);
    this.chosen = layout.layers.map((layer) => ({ ink: greyest(layer.inks), contrast: middle }));
    this.options = new Options(find("inks"), inks.length, (place) => this.#pickInk(place));
    for (const [place, option] of this.options.items.entries()) {
      option.className = "ink";
      option.addEventListener("click", () => this.#pickInk(place));
    }
    this.contrast = find("contrast");
    this.strength = find("strength");
    this.contrast.max = contrasts.length - 1;
    this.contrast.addEventListener("change", () => {
      this.chosen[this.layer].contrast = Number(this.contrast.value);
      this.#changed();
    });
    this.sizes = find("sizes");
    this.sizes.hidden = layout.layers.length === 1;
    for (const [layer, { part_size: side }] of layout.layers.entries()) this.#addSize(layer, side);
    this.#showLayer();
  }

  /** What new strokes have besides their part. */
  get ink() {
    return this.inked ? { ...this.chosen[this.layer] } : {};
  }

  /** How parts are shown. */
  get look() {
    return lookOf(this.layer, this.ink);
  }

  /** Show the ink and contrast of a stroke on the present layer. */
  show({ ink, contrast }) {
    this.chosen[this.layer] = { ink, contrast };
    this.#showChosen();
  }

  #addSize(layer, side) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    const name = this.layout.size(layer);
    Object.assign(input, { type: "radio", name: "size", value: layer, checked: layer === 0 });
    input.ariaLabel = `${name} parts, ${side} pixels wide`;
    input.addEventListener("change", () => {
      this.layer = layer;
      this.#showLayer();
      this.onLayer();
    });
    const text = document.createElement("span");
    text.append(`${name} `);
    text.append(Object.assign(document.createElement("small"), { textContent: `${side} px` }));
    label.append(input, text);
    this.sizes.append(label);
  }

  #pickInk(place) {
    this.chosen[this.layer].ink = this.orders[this.layer][place];
    this.#changed();
  }

  #changed() {
    this.#showChosen();
    this.onPick();
  }

  #showLayer() {
    const { inks } = this.layout.layers[this.layer];
    for (const [place, ink] of this.orders[this.layer].entries()) {
      const option = this.options.items[place];
      option.style.backgroundColor = inks[ink];
      option.dataset.ink = ink;
      option.title = `ink ${ink}`;
      option.ariaLabel = `ink ${ink}, ${inks[ink]}`;
    }
    this.#showChosen();
  }

  #showChosen() {
    const { ink, contrast } = this.chosen[this.layer];
    this.options.select(this.orders[this.layer].indexOf(ink));
    this.contrast.value = contrast;
    this.contrast.ariaValueText = `contrast ${contrast}`;
    this.strength.textContent = contrast;
  }
}

/** How a part is shown on a layer, in the ink and contrast of a stroke if it has them. */
export function lookOf(layer, { ink, contrast }) {
  return ink === undefined ? {} : { layer, ink, contrast };
}

/** The levels of red, green and blue, 0 to 255, of a colour #rrggbb. */
function levels(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** The number of the ink nearest to middle grey, in which dark and light parts are seen best. */
function greyest(inks) {
  const distances = inks.map((ink) => Math.hypot(...levels(ink).map((level) => level - 128)));
  return distances.indexOf(Math.min(...distances));
}

/** The numbers of inks, #rrggbb each: greys first, then by hue, each from dark to light. */
function ordered(inks) {
  const keys = inks.map((colour) => {
    const [red, green, blue] = levels(colour);
    const spread = Math.max(red, green, blue) - Math.min(red, green, blue);
    const hue = Math.atan2(Math.sqrt(3) * (green - blue), 2 * red - green - blue); // -pi to pi
    const group = spread <= GREYISH ? -1 : Math.floor(6 * (hue / Math.PI + 1)) % 12;
    return [group, red + green + blue];
  });
  return [...inks.keys()].sort((a, b) => keys[a][0] - keys[b][0] || keys[a][1] - keys[b][1]);
}
