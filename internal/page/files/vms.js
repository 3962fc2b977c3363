// The list of VMs, and what is done with one as a whole.

import { call, get, vmPath, work } from './api.js';
import { ask, field } from './dialog.js';
import { bytes, button, count, el, plain, say, time } from './dom.js';
import * as live from './live.js';

const NAME = '[A-Za-z0-9][A-Za-z0-9_.\\-]{0,62}';

export async function vms() {
  const list = el('ul', { class: 'vms' });
  const none = el('p', { class: 'empty', hidden: true }, 'No VM yet. Make one with the button above, or with noid create.');
  const node = el('div', {}, el('div', { class: 'head' }, el('h1', { tabindex: '-1' }, 'VMs'), button('New VM', create, { class: 'primary', 'aria-haspopup': 'dialog' })), none, list);
  const draw = (doc) => {
    none.hidden = doc.vms.length > 0;
    drawList(list, doc.vms);
  };
  draw(await get('/vms'));
  return { title: 'VMs', node, close: live.on(draw), keys: { n: create } };
}

// drawList has list show vms. An item that did not change stays, and the focus with it.
function drawList(list, vms) {
  const there = new Map([...list.children].map((item) => [item.dataset.name, item]));
  const items = vms.map((v) => {
    const text = JSON.stringify(v);
    const old = there.get(v.name);
    if (old?.dataset.text === text) return old;
    const item = el('li', { 'data-name': v.name, 'data-text': text }, card(v));
    if (old?.contains(document.activeElement)) queueMicrotask(() => (item.querySelector('[data-act="' + focusOf(old) + '"]') ?? item.querySelector('a')).focus());
    return item;
  });
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) list.replaceChildren(...items);
}

function focusOf(item) {
  return item.contains(document.activeElement) ? document.activeElement.dataset.act ?? '' : '';
}

function card(v) {
  return [
    el('h2', {}, el('a', { href: '#/vm/' + encodeURIComponent(v.name) }, v.name), ' ', badge(v)),
    el('p', { class: 'facts' }, count(v.cpus, 'CPU'), ', ', bytes(v.mem_mib * 1024 * 1024), ', ', v.driver, ', made ', time(v.created_at)),
    v.error ? el('p', { class: 'hint' }, plain(v.error)) : null,
    el('div', { class: 'actions' }, actions(v)),
  ];
}

// badge says a VM's state, by a word and a form beside the colour.
export function badge(v) {
  const form = { running: '●', paused: '❚❚', stopped: '■' }[v.state] ?? '▲';
  return el('span', { class: 'badge ' + v.state }, el('span', { 'aria-hidden': 'true' }, form + ' '), v.state, v.paused_because ? ' (' + plain(v.paused_because) + ')' : '');
}

// actions are the buttons of what can be done with v in its state.
export function actions(v) {
  const act = (verb, text, does, props = {}) => button(text, does, { 'data-act': verb, 'aria-label': text.replace(' …', '') + ' ' + v.name, ...props });
  const plainly = (verb, text, did) => act(verb, text, async () => {
    await call('POST', vmPath(v.name) + '/' + verb);
    say(v.name + ' ' + did);
  });
  const destroys = act('destroy', 'Destroy …', () => destroy(v.name), { class: 'danger', 'aria-haspopup': 'dialog' });
  switch (v.state) {
    case 'running':
      return [plainly('pause', 'Pause', 'stands still'), act('stop', 'Stop …', () => stop(v.name), { 'aria-haspopup': 'dialog' }), destroys];
    case 'paused':
      return [plainly('resume', 'Resume', 'runs again'), act('stop', 'Stop …', () => stop(v.name), { 'aria-haspopup': 'dialog' }), destroys];
    case 'stopped': case 'dead':
      return [plainly('start', 'Start', 'runs'), destroys];
  }
  return [destroys];
}

function stop(name) {
  return ask({
    title: 'Stop ' + name + '?', ok: 'Stop', danger: true,
    text: 'Its programs end, and what is in its memory alone is lost. Its disk stays.',
    fields: [field('Kill it, without asking its guest', 'force', { type: 'checkbox' }, 'Then what the guest has not written to its disk is lost, too.')],
    work: async ({ force }, { signal }) => {
      await call('POST', vmPath(name) + '/stop', { force }, signal);
      say(name + ' is stopped');
      return true;
    },
  });
}

async function destroy(name) {
  const n = (await get(vmPath(name) + '/history').catch(() => ({ checkpoints: [] }))).checkpoints.length;
  const done = await ask({
    title: 'Destroy ' + name + '?', ok: 'Destroy', danger: true,
    text: ['Its disk, its memory and the log of its console are lost.',
      n ? 'Its ' + count(n, 'checkpoint') + (n === 1 ? ' stays, and it can be restored from it.' : ' stay, and it can be restored from them.') : 'It has no checkpoint to restore it from.'],
    fields: n ? [field('Forget ' + (n === 1 ? 'its checkpoint' : 'its ' + n + ' checkpoints') + ', too', 'checkpoints', { type: 'checkbox' }, 'Then nothing is left of it.')] : [],
    work: async ({ checkpoints }, { signal }) => {
      await call('DELETE', vmPath(name) + (checkpoints ? '?checkpoints=true' : ''), undefined, signal);
      say(name + ' is destroyed');
      return true;
    },
  });
  if (done && location.hash.startsWith('#/vm/')) location.hash = '#/';
}

// create asks for a new VM, and goes to it.
async function create() {
  const images = (await get('/images').catch(() => ({ images: [] }))).images ?? [];
  const made = await ask({
    title: 'New VM', ok: 'Create',
    fields: [
      field('Name', 'name', { required: true, pattern: NAME, maxlength: '63', autofocus: true }, 'letters, digits, and after the first of them _ . -'),
      field('Image', 'image', { list: 'images', placeholder: 'default' }, 'such as python:3.13; pulled if it is not there'),
      el('datalist', { id: 'images' }, images.flatMap((i) => i.refs).map((value) => el('option', { value }))),
      el('div', { class: 'row' }, field('CPUs', 'cpus', { type: 'number', min: '1', max: '64', placeholder: 'default' }), field('Memory, MiB', 'mem_mib', { type: 'number', min: '64', max: '1048576', placeholder: 'default' }),
        field('Disk, MiB', 'disk_mib', { type: 'number', min: '64', max: '8388608', placeholder: 'default' })),
      field('Network', 'net', { options: [{ value: '', text: 'as configured' }, { value: 'none', text: 'none' }, { value: 'default', text: 'the internet' }] }),
      field('Checkpoints by themselves', 'auto', { options: [{ value: '', text: 'as configured' }, { value: 'exec', text: 'before each command' }, { value: '5m', text: 'every 5 minutes' }, { value: 'off', text: 'off' }] }),
    ],
    work: (v, { told, signal }) => work('POST', '/vms', v, told, signal),
  });
  if (!made) return;
  say(made.name + ' runs');
  location.hash = '#/vm/' + encodeURIComponent(made.name);
}
