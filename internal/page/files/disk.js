// What noid's home takes of the disk.

import { get } from './api.js';
import { bytes, button, count, el } from './dom.js';

export async function disk() {
  const box = el('div', {});
  const load = async () => box.replaceChildren(table(await get('/du')));
  await load();
  return {
    title: 'Disk',
    node: el('div', {}, el('div', { class: 'head' }, el('h1', { tabindex: '-1' }, 'Disk'), button('Count again', load)),
      el('p', {}, 'Own is what removing it would free. Shared is what other files use, too: blocks of an image, or of a checkpoint before.'), box),
  };
}

function table(d) {
  const rows = d.vms.map((v) => ({
    name: el('a', { href: '#/vm/' + encodeURIComponent(v.name) }, v.name), own: v.own_bytes + v.of_checkpoints.own_bytes, shared: v.shared_bytes + v.of_checkpoints.shared_bytes,
    total: v.total_bytes, checkpoints: v.checkpoints,
  }));
  for (const part of ['images', 'kernels', 'templates', 'other']) {
    if (d[part]) rows.push({ name: part, own: d[part].own_bytes, shared: d[part].shared_bytes, total: d[part].own_bytes + d[part].shared_bytes });
  }
  const most = Math.max(1, ...rows.map((r) => r.own + r.shared));
  return el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Disk space' }, el('table', { class: 'disk' }, el('caption', {}, 'In all: ' + bytes(d.total_bytes)),
    el('thead', {}, el('tr', {}, ['What', 'Own', 'Shared', 'Together', 'Checkpoints'].map((h) => el('th', { scope: 'col' }, h)))),
    el('tbody', {}, rows.map((r) => el('tr', {}, el('th', { scope: 'row' }, r.name, bar(r, most)), [r.own, r.shared, r.total].map((n) => el('td', { class: 'number' }, bytes(n))),
      el('td', { class: 'number' }, r.checkpoints === undefined ? '' : count(r.checkpoints, 'checkpoint')))))));
}

// bar shows own and shared beside the greatest; the numbers say the same.
function bar(r, most) {
  const own = el('span', { class: 'own' }), shared = el('span', { class: 'shared' });
  own.style.width = (100 * r.own) / most + '%';
  shared.style.width = (100 * r.shared) / most + '%';
  return el('span', { class: 'bars', 'aria-hidden': 'true' }, own, shared);
}
