// One VM: its name and state, what is done with it, and its parts.

import { call, get, vmPath, work } from './api.js';
import { ask, field } from './dialog.js';
import { bytes, button, count, el, plain, say } from './dom.js';
import * as live from './live.js';
import { diff } from './diff.js';
import { explore } from './explore.js';
import { history } from './history.js';
import { shell, serial } from './terminal.js';
import { actions, badge } from './vms.js';

const parts = { history: ['History', history], diff: ['Changes', diff], shell: ['Shell', shell], console: ['Console', serial], explore: ['Explore', explore] };

export async function vm(name, part, query) {
  if (!parts[part]) throw new Error('no view ' + part);
  let info = await get(vmPath(name)).catch((err) => {
    if (err.status === 404) return null; // its checkpoints may be there
    throw err;
  });
  const [label, make] = parts[part];
  const own = { name, query, info: () => info };
  const shown = await make(own);
  const state = el('span', {});
  const buttons = el('div', { class: 'actions' });
  const facts = el('p', { class: 'facts' });
  const travels = { c: () => keep(own, shown), u: () => travel(own, shown, 'undo'), r: () => travel(own, shown, 'redo') };
  const draw = () => {
    state.replaceChildren(info ? badge(info) : 'gone');
    facts.replaceChildren(info ? [count(info.cpus, 'CPU'), bytes(info.mem_mib * 1024 * 1024), info.driver, plain(info.error ?? '')].filter(Boolean).join(', ') : 'Its checkpoints are left. Restore one.');
    const focus = buttons.contains(document.activeElement) ? document.activeElement.dataset.act : null;
    buttons.replaceChildren(...(info ? [
      button('Checkpoint …', travels.c, { 'data-act': 'checkpoint', class: 'primary', 'aria-haspopup': 'dialog' }),
      button('Undo', travels.u, { 'data-act': 'undo' }), button('Redo', travels.r, { 'data-act': 'redo' }), ...actions(info)] : []));
    if (focus) (buttons.querySelector('[data-act="' + focus + '"]') ?? buttons.firstElementChild)?.focus();
  };
  draw();
  const away = live.on((doc) => {
    const now = doc.vms.find((v) => v.name === name) ?? null;
    if (JSON.stringify(now) !== JSON.stringify(info)) {
      info = now;
      draw();
    }
    shown.changed?.();
  });
  const tabs = el('nav', { class: 'tabs', 'aria-label': 'Views of ' + name }, Object.entries(parts).map(([key, [text]]) =>
    el('a', { href: '#/vm/' + encodeURIComponent(name) + '/' + key, 'aria-current': key === part ? 'page' : null }, text)));
  return {
    title: name + ': ' + label,
    node: el('div', { class: 'vm' }, el('div', { class: 'head' }, el('h1', { tabindex: '-1' }, name, ' ', state), facts, buttons), tabs,
      el('section', { 'aria-label': label }, shown.node)),
    keys: travels,
    shown: shown.shown,
    close() {
      away();
      shown.close?.();
    },
  };
}

async function keep({ name }, shown) {
  const made = await ask({
    title: 'Checkpoint of ' + name, ok: 'Make it',
    text: 'Memory and disk are kept as they are now. The VM stands still for a moment, and goes on.',
    fields: [field('Label', 'label', { maxlength: '200', autofocus: true }, 'a name for it; it can be empty')],
    work: (v, { signal }) => call('POST', vmPath(name) + '/checkpoints', v, signal),
  });
  if (!made) return;
  say('kept as ' + made.id);
  await shown.changed?.();
}

async function travel({ name }, shown, verb) {
  say(verb + ' …');
  const done = await work('POST', vmPath(name) + '/' + verb, { n: 1 });
  say(name + ' is as at ' + done.to + (done.kept ? '; what it was is kept as ' + done.kept : ''));
  await shown.changed?.();
}
