// Building and updating the page. Foreign text only ever becomes a text node.

export function byId(id) {
  return document.getElementById(id);
}

// h('li', { class: 'x', 'aria-label': 'y', onclick }, child, 'text', ...)
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// Writes text only where it differs, so that selections and animations live on.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setData(element, name, value) {
  if (element.dataset[name] !== value) element.dataset[name] = value;
}

// Makes the children of parent those of items, in their order, and keeps those
// that are there already: a list that changes under the finger keeps its focus.
export function keyed(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((element) => [element.dataset.key, element]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let element = old.get(key);
    if (element) {
      old.delete(key);
    } else {
      element = make(item);
      element.dataset.key = key;
    }
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
    update(element, item);
  }
  for (const element of old.values()) element.remove();
}

// Shows the initials of a name on a colour of its own.
export function paintAvatar(element, name, key) {
  const words = name.trim().split(/\s+/);
  const letters = words.length > 1 ? [...words[0]][0] + [...words.at(-1)][0] : [...name].slice(0, 2).join('');
  setText(element, letters.toUpperCase());
  let hash = 0;
  for (const c of key) hash = (hash * 31 + c.codePointAt(0)) % 360;
  element.style.setProperty('--hue', String(hash));
}

export function time(date) {
  return date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}
