// What the views have in common: elements, numbers and times as people read them, and what is said aloud.

// el makes an element. Properties that begin with "on" are listeners. Text is text, never markup.
export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (key === 'value') e.value = value;
    else e.setAttribute(key, value === true ? '' : value);
  }
  add(e, children);
  return e;
}

// add appends children to e, and leaves out what is not there.
export function add(e, ...children) {
  e.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false && c !== ''));
}

const SVG = 'http://www.w3.org/2000/svg';

export function svg(tag, props = {}, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(props)) e.setAttribute(key, value);
  e.append(...children);
  return e;
}

// plain shows what a guest may hide in a text: control characters as their pictures, and those that turn the direction of
// writing or have no width as their numbers. Line ends and tabs stay.
export function plain(text) {
  return String(text ?? '').replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (c) => (c === '\u007f' ? '\u2421' : String.fromCharCode(0x2400 + c.charCodeAt(0))))
    .replace(/[\u0080-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (c) => '<U+' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0') + '>');
}

// line is plain in one line.
export function line(text) {
  return plain(text).replaceAll('\n', '\u240a').replaceAll('\t', '\u2409');
}

// guest is an element with a text of a guest's, or of a user's.
export function guest(text, tag = 'bdi') {
  return el(tag, {}, line(text));
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + ' ' + units[i];
}

export function seconds(s) {
  return s < 60 ? s.toFixed(1) + ' s' : Math.floor(s / 60) + ' min ' + Math.round(s % 60) + ' s';
}

export function count(n, one, many = one + 's') {
  return n + ' ' + (n === 1 ? one : many);
}

// time is an RFC 3339 time as an element: the hour of today, else the date too.
export function time(text) {
  const t = new Date(text);
  if (isNaN(t)) return el('span', {}, '');
  const today = t.toDateString() === new Date().toDateString();
  return el('time', { datetime: text, title: t.toLocaleString() }, today ? t.toLocaleTimeString() : t.toLocaleString());
}

// button is a button that cannot be pressed again while its work goes on. What fails is shown.
export function button(text, work, props = {}) {
  const b = el('button', { type: 'button', ...props }, text);
  b.addEventListener('click', async () => {
    if (b.getAttribute('aria-disabled')) return;
    b.setAttribute('aria-disabled', 'true');
    try {
      await work(b);
    } catch (err) {
      failed(err);
    } finally {
      b.removeAttribute('aria-disabled');
    }
  });
  return b;
}

// say has a message read aloud, and shows it for a while.
export function say(text) {
  const box = document.getElementById('say');
  const message = el('p', {}, plain(text));
  box.replaceChildren(message);
  setTimeout(() => message.remove(), 8000);
}

// problem is an error as an element, with what cures it.
export function problem(err) {
  return el('div', { class: 'problem', role: 'alert' }, el('p', {}, plain(err.message)), err.hint ? el('p', { class: 'hint' }, plain(err.hint)) : null);
}

// failed shows an error until it is dismissed.
export function failed(err) {
  if (err.name === 'AbortError') return;
  const box = problem(err);
  box.append(el('button', { type: 'button', onclick: () => box.remove() }, 'Dismiss'));
  document.querySelector('main > .problem')?.remove();
  document.getElementById('main').prepend(box);
}
