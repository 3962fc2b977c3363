// What can be done with a checkpoint, or with a VM as it is now.

import { call, checkpointPath, vmPath, work } from './api.js';
import { ask, field } from './dialog.js';
import { count, say } from './dom.js';

const NAME = '[A-Za-z0-9][A-Za-z0-9_.\\-]{0,62}';

const diffAt = (name, from, to) => { location.hash = '#/vm/' + encodeURIComponent(name) + '/diff?' + new URLSearchParams({ from, to }); };

// choices are the menu of the row r of a history.
export function choices(name, r, doc, reload) {
  const here = doc.checkpoints.some((c) => c.id === r.parent);
  if (r.id === '') {
    return [
      ['Copies of it (fork) …', () => fork(name, '', reload)],
      ...(here ? [['What changed since ' + r.parent, () => diffAt(name, r.parent, 'now')]] : []),
    ];
  }
  return [
    ['Restore …', () => restore(name, r.id, reload)],
    ['Restore as a new VM …', () => restoreAs(name, r.id)],
    ['Copies of it (fork) …', () => fork(name, r.id, reload)],
    ['What changed since then', () => diffAt(name, r.id, 'now')],
    ...(here ? [['What changed before it', () => diffAt(name, r.parent, r.id)]] : []),
    [r.pinned ? 'Unpin' : 'Pin', async () => {
      await call(r.pinned ? 'DELETE' : 'PUT', checkpointPath(name, r.id) + '/pin');
      say(r.id + (r.pinned ? ' may go when checkpoints are pruned' : ' stays when checkpoints are pruned'));
      await reload();
    }],
    ['Forget …', () => forget(name, r, reload)],
  ];
}

async function restore(name, id, reload) {
  const done = await ask({
    title: 'Restore ' + name + '?', ok: 'Restore', danger: true,
    text: 'Memory and disk become those of ' + id + '. What the VM is now is kept as a checkpoint first, so that undo takes this back.',
    fields: [field('Do not keep what it is now', 'no_backup', { type: 'checkbox' }, 'Then what was done since the last checkpoint is lost.')],
    work: (v, { told, signal }) => work('POST', checkpointPath(name, id) + '/restore', v, told, signal),
  });
  if (!done) return;
  say(name + ' is as at ' + id + (done.kept ? '; what it was is kept as ' + done.kept : ''));
  await reload();
}

async function restoreAs(name, id) {
  const done = await ask({
    title: 'A new VM of ' + id, ok: 'Restore',
    text: name + ' itself stays as it is.',
    fields: [field('Name', 'as', { required: true, pattern: NAME, maxlength: '63', autofocus: true })],
    work: (v, { told, signal }) => work('POST', checkpointPath(name, id) + '/restore', v, told, signal),
  });
  if (!done) return;
  say(done.vm + ' runs');
  location.hash = '#/vm/' + encodeURIComponent(done.vm);
}

async function fork(name, checkpoint, reload) {
  const done = await ask({
    title: 'Copies of ' + name, ok: 'Fork',
    text: checkpoint ? 'They run on from ' + checkpoint + '.' : 'They run on from what the VM is now.',
    fields: [field('How many', 'n', { type: 'number', min: '1', max: '100', value: '2', required: true }),
      field('Their names begin with', 'prefix', { pattern: '[A-Za-z0-9][A-Za-z0-9_.\\-]{0,58}', placeholder: name + '-' })],
    work: (v, { told, signal }) => work('POST', vmPath(name) + '/fork', checkpoint ? { ...v, checkpoint } : v, told, signal),
  });
  if (!done) return;
  say(count(done.vms.length, 'copy', 'copies') + ': ' + done.vms.map((v) => v.name).join(', ') + done.failed.map((f) => '; ' + f.name + ' failed: ' + f.error).join(''));
  await reload();
}

async function forget(name, r, reload) {
  const done = await ask({
    title: 'Forget ' + r.id + '?', ok: 'Forget', danger: true,
    text: 'Its memory and disk are lost: ' + name + ' cannot be put back to it any more. Other checkpoints and VMs do not need it.',
    work: (_, { signal }) => call('DELETE', checkpointPath(name, r.id), undefined, signal),
  });
  if (!done) return;
  say(r.id + ' is forgotten');
  await reload();
}
