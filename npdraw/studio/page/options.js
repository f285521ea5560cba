// Lists of options in rows: one may be selected, and arrow keys move between them.

const MARGIN = 5; // pixels around an item that stay visible

/** `count` options in `element`; `choose(number)` is called when Enter or space is pressed on one. */
export class Options {
  constructor(element, count, choose) {
    this.choose = choose;
    this.selected = null;
    this.items = [];
    for (let number = 0; number < count; number += 1) {
      const item = document.createElement("div");
      item.role = "option";
      item.tabIndex = -1;
      item.ariaSelected = "false";
      this.items.push(item);
    }
    element.append(...this.items);
    this.items[0].tabIndex = 0;
    element.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Select an option, or with null none. */
  select(number) {
    if (this.selected !== null) this.items[this.selected].ariaSelected = "false";
    this.selected = number;
    if (number === null) return;
    this.items[number].ariaSelected = "true";
    this.#focusable(number);
    this.#reveal(this.items[number]);
  }

  /** Scroll the list, but not the page, until an item is visible. */
  #reveal(item) {
    const list = item.parentElement.getBoundingClientRect();
    const box = item.getBoundingClientRect();
    const beyond = (start, end, first, last) => Math.min(0, start - first) + Math.max(0, end - last);
    item.parentElement.scrollBy(
      beyond(box.left, box.right, list.left + MARGIN, list.right - MARGIN),
      beyond(box.top, box.bottom, list.top + MARGIN, list.bottom - MARGIN),
    );
  }

  #focusable(number) {
    for (const item of this.items) item.tabIndex = -1;
    this.items[number].tabIndex = 0;
  }

  #key(event) {
    const number = this.items.indexOf(event.target);
    const last = this.items.length - 1;
    const wide = this.#columns();
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -wide,
      ArrowDown: wide,
      Home: -number,
      End: last - number,
    };
    if (event.key in steps) {
      event.preventDefault();
      const to = number + steps[event.key];
      if (to < 0 || to > last) return;
      this.#focusable(to);
      this.items[to].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.choose(number);
    }
  }

  /** Options per row; on a narrow page, parts are a strip of a few long rows. */
  #columns() {
    const [first] = this.items;
    const below = this.items.findIndex(
      (item) => item.offsetLeft === first.offsetLeft && item.offsetTop > first.offsetTop,
    );
    return below > 0 ? below : this.items.length;
  }
}
