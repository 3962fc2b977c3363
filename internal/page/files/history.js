// The history of a VM as a graph: a row for each checkpoint, the newest first, and lines to what each came from.

import { get, vmPath } from './api.js';
import { bytes, button, el, line, svg, time } from './dom.js';
import { openMenu } from './menu.js';
import { choices } from './checkpoint.js';

const ROW = 56, LANE = 18, MOST = 200; // px, px, checkpoints at first
const NOW = '';

export async function history({ name, info }) {
  const box = el('div', {});
  let most = MOST, text = '', busy = false, again = false;
  const load = async () => {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      do {
        again = false;
        const doc = await get(vmPath(name) + '/history?size=true' + (most ? '&max=' + most : ''));
        const now = JSON.stringify([doc, info()?.state]);
        if (now !== text) draw(doc);
        text = now;
      } while (again);
    } finally {
      busy = false;
    }
  };
  const draw = (doc) => {
    const at = box.querySelector('.node:focus')?.dataset.id;
    const all = button('Show all checkpoints', () => { most = 0; return load(); });
    box.replaceChildren(graph(name, doc, info(), load), ...(most && doc.checkpoints.length >= most ? [all] : []));
    if (at !== undefined) focus(box, at);
  };
  await load();
  return { node: box, changed: load };
}

function focus(box, id) {
  const to = [...box.querySelectorAll('.node')].find((b) => b.dataset.id === id) ?? box.querySelector('.node');
  if (!to) return;
  for (const b of box.querySelectorAll('.node')) b.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

// lay gives each row its lane, so that the line to what it came from is free of others' points.
export function lay(rows) {
  const known = new Map(rows.map((r, i) => [r.id, i]));
  const lanes = []; // the row that each lane's line leads to
  rows.forEach((row, i) => {
    row.lane = lanes.findIndex((to) => to === i);
    if (row.lane < 0) row.lane = lanes.findIndex((to) => to === undefined);
    if (row.lane < 0) row.lane = lanes.length;
    for (let l = 0; l < lanes.length; l++) if (lanes[l] === i) lanes[l] = undefined;
    const to = known.get(row.parent);
    row.to = to > i ? to : undefined; // a record may say anything
    lanes[row.lane] = row.to;
  });
  return Math.max(1, ...rows.map((r) => r.lane + 1));
}

function graph(name, doc, info, reload) {
  const rows = doc.checkpoints.map((c) => ({ ...c }));
  if (info) rows.unshift({ id: NOW, parent: doc.now, state: info.state });
  if (rows.length === 0) return el('p', { class: 'empty' }, 'No checkpoint of this VM.');
  const wide = lay(rows);
  const x = (lane) => LANE / 2 + Math.min(lane, 8) * LANE, y = (i) => i * ROW + ROW / 2;
  const picture = svg('svg', { class: 'lines', 'aria-hidden': 'true', width: x(Math.min(wide - 1, 8)) + LANE / 2, height: rows.length * ROW });
  rows.forEach((r, i) => {
    if (r.to === undefined) return;
    const to = rows[r.to], bend = y(r.to) - ROW / 2;
    picture.append(svg('path', { d: `M${x(r.lane)} ${y(i)}V${bend}C${x(r.lane)} ${y(r.to)} ${x(to.lane)} ${bend} ${x(to.lane)} ${y(r.to)}` }));
  });
  rows.forEach((r, i) => {
    const at = { cx: x(r.lane), cy: y(i), r: r.id === NOW ? 7 : 5 };
    picture.append(svg('circle', { ...at, class: r.id === NOW ? 'now' : r.id === doc.now ? 'from' : r.by ? 'by' : '' }));
  });
  const list = el('ol', { class: 'graph', 'aria-label': 'History of ' + name + ', the newest first' }, rows.map((r) => el('li', {}, node(name, r, doc, rows, reload))));
  list.style.paddingInlineStart = picture.getAttribute('width') + 'px';
  const box = el('div', { class: 'history' }, list);
  box.prepend(picture);
  list.querySelector('.node').tabIndex = 0;
  list.addEventListener('keydown', (e) => move(e, list, rows));
  return box;
}

// node is the button of a row.
function node(name, r, doc, rows, reload) {
  const at = r.id !== NOW && r.id === doc.now;
  const parent = rows.find((p) => p.id === r.parent);
  const words = r.id === NOW
    ? [el('strong', {}, 'now'), el('small', {}, name + ' as it is: ', r.state)]
    : [el('strong', {}, r.pinned ? [el('span', { 'aria-hidden': 'true' }, '◆ '), el('span', { class: 'aloud' }, 'pinned: ')] : null, el('bdi', {}, caption(r))),
      el('small', {}, r.id, ' · ', time(r.created_at), r.own_bytes === undefined ? null : ' · ' + bytes(r.own_bytes), at ? el('b', {}, ' · here') : null, r.error ? ' · damaged' : null)];
  const b = el('button', { type: 'button', class: 'node', 'data-id': r.id, tabindex: '-1', 'aria-haspopup': 'menu', 'aria-current': r.id === NOW ? 'true' : null }, words,
    parent ? el('span', { class: 'aloud' }, ', came from ' + caption(parent)) : null);
  b.addEventListener('click', () => openMenu(b, r.id === NOW ? name + ' now' : caption(r), choices(name, r, doc, reload)));
  return b;
}

// caption is what a checkpoint is called.
export function caption(c) {
  if (c.label) return line(c.label);
  switch (c.by) {
    case 'auto': return 'before: ' + line(c.command || 'a while ago');
    case 'try': return 'before the try of: ' + line(c.command);
    case 'restore': return 'before a restore of ' + line(c.to);
    case 'undo': return 'before an undo';
    case undefined: return 'checkpoint';
  }
  return line(c.by) + (c.command ? ': ' + line(c.command) : '');
}

// move follows the arrow keys.
function move(e, list, rows) {
  const i = rows.findIndex((r) => r.id === e.target.dataset.id);
  if (i < 0) return;
  const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: rows.length - 1, ArrowLeft: rows[i].to, ArrowRight: rows.findLastIndex((r) => r.to === i) }[e.key];
  if (to === undefined) return;
  e.preventDefault();
  if (rows[to]) focus(list, rows[to].id);
}
