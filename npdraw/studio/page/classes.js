// The classes of a model: which one is drawn next, and how likely each is for drawing A.

const SHOWN = 5; // the likeliest ones

/** The chooser `chooser`, a select in a label, and the list `list`; hidden for a model without classes. */
export class Classes {
  constructor(chooser, list, names) {
    this.names = names;
    this.select = chooser.querySelector("select");
    this.list = list;
    chooser.hidden = names.length === 0;
    list.parentElement.hidden = names.length === 0;
    for (const name of names) this.select.append(new Option(name, name));
  }

  /** The class chosen, or null for any. */
  get chosen() {
    const number = this.select.selectedIndex; // a class may have the name "any"
    return number === 0 ? null : this.names[number - 1];
  }

  /** Show the likeliest classes of a drawing, given the probability of each. */
  show(chances) {
    const likeliest = chances
      .map((chance, number) => ({ chance, name: this.names[number] }))
      .sort((one, other) => other.chance - one.chance)
      .slice(0, SHOWN);
    this.list.replaceChildren(...likeliest.map(row));
  }
}

function row({ chance, name }) {
  const item = document.createElement("li");
  const [label, bar, figure] = ["span", "meter", "output"].map((tag) => document.createElement(tag));
  label.textContent = name;
  label.title = name;
  bar.value = chance;
  bar.ariaLabel = `Probability of class ${name}`;
  figure.textContent = `${Math.round(100 * chance)}%`;
  item.append(label, bar, figure);
  return item;
}
