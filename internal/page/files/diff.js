// What differs between two moments of a VM: files by what happened to them, texts line by line.

import { get, vmPath, work } from './api.js';
import { field } from './dialog.js';
import { bytes, button, count, el, guest, line, plain, problem } from './dom.js';
import { caption } from './history.js';
import { split } from './patch.js';

const KINDS = { added: ['Added', '+'], removed: ['Removed', '−'], changed: ['Changed', '~'], renamed: ['Renamed', '→'] };

export async function diff({ name, query, info }) {
  const doc = await get(vmPath(name) + '/history');
  const last = doc.now ?? doc.checkpoints[0]?.id;
  const moments = [...(info() ? [{ value: 'now', text: 'now' }] : []), ...doc.checkpoints.map((c) => ({ value: c.id, text: caption(c) + ' (' + c.id + ')' }))];
  const out = el('div', { class: 'diff', role: 'region', 'aria-label': 'What differs', 'aria-live': 'polite' });
  const stop = new AbortController();
  const form = el('form', { class: 'bar' },
    field('From', 'from', { options: moments, value: query.get('from') ?? last }), field('To', 'to', { options: moments, value: query.get('to') ?? 'now' }),
    field('also /run, /tmp and logs', 'all', { type: 'checkbox' }), field('packages', 'packages', { type: 'checkbox' }),
    el('button', { type: 'submit', class: 'primary' }, 'Compare'));
  const compare = async () => {
    const q = new URLSearchParams({ patch: 'true' });
    for (const side of ['from', 'to']) q.set(side, name + '@' + form.elements[side].value);
    for (const option of ['all', 'packages']) if (form.elements[option].checked) q.set(option, 'true');
    out.setAttribute('aria-busy', 'true');
    out.replaceChildren(el('p', {}, 'Comparing …'));
    try {
      out.replaceChildren(...result(await work('GET', '/diff?' + q, undefined, undefined, stop.signal)));
    } catch (err) {
      if (err.name !== 'AbortError') out.replaceChildren(problem(err));
    } finally {
      out.removeAttribute('aria-busy');
    }
  };
  form.addEventListener('submit', (e) => {
    e.preventDefault();
    compare();
  });
  if (!last) return { node: el('p', { class: 'empty' }, 'No checkpoint of this VM to compare with. Make one first.') };
  compare();
  return { node: el('div', {}, form, out), close: () => stop.abort() };
}

function result(d) {
  const patches = split(d.patch ?? '');
  const parts = Object.entries(KINDS).map(([kind, [title, sign]]) => {
    const of = d.changes.filter((c) => c.kind === kind);
    if (of.length === 0) return null;
    return el('details', { class: 'kind ' + kind, open: of.length <= 50 }, el('summary', {}, el('h2', {}, el('span', { 'aria-hidden': 'true' }, sign + ' '), title + ': ' + count(of.length, 'file'))),
      el('ul', {}, of.map((c) => el('li', {}, file(c, patches)))));
  });
  const packages = d.packages?.length ? el('details', { class: 'kind', open: true }, el('summary', {}, el('h2', {}, count(d.packages.length, 'package'))),
    el('ul', {}, d.packages.map((p) => el('li', {}, guest(p.name), ' (' + plain(p.manager) + '): ' + line(p.before ?? 'none') + ' → ' + line(p.after ?? 'none'))))) : null;
  return [
    el('p', {}, d.total ? count(d.total, 'file') + ' differ' + (d.total === 1 ? 's' : '') + '.' : 'No file differs.', d.folded ? ' ' + count(d.folded, 'more that changes', 'more that change') + ' by itself.' : '',
      d.cut ? ' Not all are shown.' : '', d.patch_cut ? ' Not all texts are shown.' : ''),
    ...parts, packages].filter(Boolean);
}

function file(c, patches) {
  const name = [c.was ? [guest(c.was, 'code'), ' → '] : null, guest(c.path, 'code'), ' ', el('small', {}, about(c))];
  const lines = patches.get(c.path);
  if (!lines) return name;
  const box = el('details', { open: lines.length <= 200 }, el('summary', {}, name));
  const show = () => {
    if (box.open && box.childElementCount === 1) box.append(text(lines));
  };
  box.addEventListener('toggle', show);
  show();
  return box;
}

// about is what happened to a file, in a few words.
function about(c) {
  const size = c.kind === 'removed' ? c.before?.size : c.after?.size;
  const words = (c.what ?? []).map(plain);
  if (c.before && c.after && c.before.mode !== c.after.mode) words.push(c.before.mode + ' → ' + c.after.mode);
  if (size !== undefined && !c.after?.target) words.push(bytes(size));
  if (c.after?.target) words.push('→ ' + line(c.after.target));
  return words.join(', ');
}

// text is a text's lines that differ, each with its sign.
function text(lines) {
  const MANY = 2000;
  const rows = (from) => lines.slice(from, from + MANY).map((l) => {
    const sign = l[0], tag = { '+': 'ins', '-': 'del' }[sign] ?? 'span';
    return el(tag, { class: sign === '@' ? 'at' : null }, (sign === '@' ? '' : sign === '-' ? '− ' : sign + ' ') + plain(sign === '@' ? l : l.slice(1)) + '\n');
  });
  const pre = el('pre', { tabindex: '0' }, rows(0));
  if (lines.length <= MANY) return pre;
  let at = MANY;
  const more = button('More lines', () => {
    pre.append(...rows(at));
    if ((at += MANY) >= lines.length) more.remove();
  });
  return el('div', {}, pre, more);
}
