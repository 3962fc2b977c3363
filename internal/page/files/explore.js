// An exploration: variants of a command side by side, and keeping one.

import { get, vmPath, work } from './api.js';
import { ask, field, values } from './dialog.js';
import { button, count, el, failed, line, plain, say, seconds } from './dom.js';
import { caption } from './history.js';

export async function explore({ name }) {
  const doc = await get(vmPath(name) + '/history?max=100');
  const moments = [{ value: '', text: 'now' }, ...doc.checkpoints.map((c) => ({ value: c.id, text: caption(c) + ' (' + c.id + ')' }))];
  const table = el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': 'Variants' });
  const go = el('button', { type: 'submit', class: 'primary' }, 'Run them');
  const cancel = el('button', { type: 'button', hidden: true }, 'Cancel');
  const form = el('form', {},
    field('Commands, one a line', 'commands', { type: 'textarea', required: true, rows: '4', placeholder: 'make CFLAGS=-O2\nmake CFLAGS=-O3' }, 'Each runs in a copy of the VM of its own, and what it has made is kept as a checkpoint.'),
    el('div', { class: 'row' }, field('Score', 'score', { placeholder: 'wc -c < a.out' }, 'a command that prints a number'), field('From', 'checkpoint', { options: moments }),
      field('At a time', 'jobs', { type: 'number', min: '1', max: '100', value: '2' }), field('Seconds at most, each', 'timeout_s', { type: 'number', min: '0.1', step: 'any' })),
    el('div', { class: 'actions' }, go, cancel));
  let stop = null;
  form.addEventListener('submit', async (e) => {
    e.preventDefault();
    if (stop) return;
    stop = new AbortController();
    cancel.hidden = false;
    go.setAttribute('aria-disabled', 'true');
    const asked = values(form);
    asked.commands = asked.commands.split('\n').map((l) => l.trim()).filter(Boolean);
    const rows = asked.commands.map((command, i) => ({ variant: i + 1, command, state: 'waits' }));
    const note = (v, state) => Object.assign(rows[v.variant - 1] ?? {}, v, { state, command: asked.commands[v.variant - 1] });
    const draw = (over) => table.replaceChildren(results(name, rows, over));
    draw(false);
    try {
      const told = (event) => {
        if (!event.name.startsWith('variant')) return;
        note(event.doc, event.name === 'variant' ? 'ended' : 'running');
        draw(false);
      };
      const out = await work('POST', vmPath(name) + '/explore', asked, told, stop.signal);
      for (const v of out.variants) note(v, 'ended');
      draw(true);
      say(count(out.variants.length, 'variant has', 'variants have') + ' ended');
    } catch (err) {
      for (const r of rows) if (r.state !== 'ended') r.state = 'cancelled';
      draw(false);
      failed(err);
    } finally {
      stop = null;
      cancel.hidden = true;
      go.removeAttribute('aria-disabled');
    }
  });
  cancel.addEventListener('click', () => stop?.abort());
  return { node: el('div', {}, form, table), close: () => stop?.abort() };
}

function results(name, rows, over) {
  const scores = rows.some((r) => r.score);
  const cells = (r) => [
    el('th', { scope: 'row' }, String(r.variant)),
    el('td', {}, el('code', {}, line(r.command))),
    el('td', {}, how(r)),
    scores ? el('td', { class: 'number' }, line(r.score ?? '')) : null,
    el('td', { class: 'number' }, r.seconds === undefined ? '' : seconds(r.seconds)),
    el('td', {}, r.output ? el('details', {}, el('summary', {}, 'output'), el('pre', { tabindex: '0' }, plain(r.output))) : ''),
    el('td', {}, over && r.checkpoint ? button('Keep', () => keep(name, r), { 'aria-label': 'Keep variant ' + r.variant }) : ''),
  ];
  return el('table', {}, el('caption', {}, over ? 'Variants' : 'Variants, as they run'),
    el('thead', {}, el('tr', {}, ['#', 'Command', 'How', ...(scores ? ['Score'] : []), 'Took', 'Output', 'Keep'].map((h) => el('th', { scope: 'col' }, h)))),
    el('tbody', {}, rows.map((r) => el('tr', { class: r.state }, cells(r)))));
}

function how(r) {
  if (r.error) return '✗ ' + plain(r.error);
  if (r.state !== 'ended') return r.state === 'running' ? '… runs' : r.state;
  if (r.timed_out) return '✗ took too long';
  return r.exit_code ? '✗ exit ' + r.exit_code : '✓ done';
}

async function keep(name, r) {
  const done = await ask({
    title: 'Keep variant ' + r.variant + '?', ok: 'Keep', danger: true,
    text: [name + ' becomes what this variant has made. What it is now is kept as a checkpoint first; undo takes this back.', 'The other variants are forgotten.'],
    work: (_, { told, signal }) => work('POST', vmPath(name) + '/keep', { variant: r.variant }, told, signal),
  });
  if (!done) return;
  say(name + ' is as variant ' + r.variant + ' has made it');
  location.hash = '#/vm/' + encodeURIComponent(name) + '/history';
}
