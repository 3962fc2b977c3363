// The help: the keys.

import { show } from './dialog.js';
import { el } from './dom.js';

const keys = [
  ['?', 'this help'],
  ['v, d', 'the VMs, the disk'],
  ['n', 'among the VMs: a new VM'],
  ['c, u, r', 'at a VM: checkpoint, undo, redo'],
  ['↑ ↓ Home End', 'in the history and in menus: from one to the next, to the first and the last'],
  ['← →', 'in the history: to the checkpoint that one came from, and to one that came from it'],
  ['Enter', 'in the history: what can be done with a checkpoint'],
  ['Esc', 'closes a menu or a dialog'],
  ['F6', 'leaves a terminal, which takes all other keys'],
];

export function help() {
  const box = el('input', { type: 'checkbox', id: 'letters' });
  box.checked = localStorage.getItem('noid.keys') !== 'off';
  box.addEventListener('change', () => localStorage.setItem('noid.keys', box.checked ? 'on' : 'off'));
  show('Keys', el('dl', { class: 'keys' }, keys.map(([key, what]) => [el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)])),
    el('div', { class: 'field check' }, box, el('label', { for: 'letters' }, 'Keys of one letter do something')),
    el('p', {}, 'All this can be done on the command line too: noid help.'));
}
