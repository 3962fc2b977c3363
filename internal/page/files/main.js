// The page: which view is shown, the theme, the keys, and what happens at the server.

import { get, setToken, takeToken } from './api.js';
import { ask, field } from './dialog.js';
import { failed, problem } from './dom.js';
import { help } from './help.js';
import * as live from './live.js';
import { disk } from './disk.js';
import { vm } from './vm.js';
import { vms } from './vms.js';

const main = document.getElementById('main');
let view = null; // { title, node, close, keys }

// route shows the view that the address names: #/, #/disk or #/vm/NAME/PART?QUERY.
async function route(first) {
  const [path, query] = location.hash.replace(/^#/, '').split('?');
  const words = path.split('/').filter(Boolean).map(decodeURIComponent);
  view?.close?.();
  view = null;
  for (const a of document.querySelectorAll('header nav a')) {
    if (a.hash === '#/' + (words[0] === 'disk' ? 'disk' : '')) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const at = location.hash;
  main.replaceChildren();
  main.setAttribute('aria-busy', 'true');
  try {
    const made = await (words[0] === 'vm' && words[1] ? vm(words[1], words[2] ?? 'history', new URLSearchParams(query)) : words[0] === 'disk' ? disk() : vms());
    if (location.hash !== at) { // another was asked for meanwhile
      made.close?.();
      return;
    }
    view = made;
    document.title = view.title + ' – noid';
    main.replaceChildren(view.node);
    view.shown?.();
    if (!first && !main.contains(document.activeElement)) main.querySelector('h1')?.focus();
  } catch (err) {
    if (location.hash === at) main.replaceChildren(problem(err));
  } finally {
    main.removeAttribute('aria-busy');
  }
}

addEventListener('hashchange', (e) => {
  if (location.hash === '#main') {
    history.replaceState(null, '', new URL(e.oldURL).hash || '#/');
    main.focus();
    return;
  }
  if (location.hash.startsWith('#token=')) {
    takeToken();
    live.start();
  }
  route(false);
});

let asking = false;
addEventListener('noid-token', async () => {
  if (asking) return;
  asking = true;
  await ask({
    title: 'The token of this server', ok: 'Use it',
    text: 'noid serve has printed an address with the token in it, and keeps the token in serve.token in noid’s home.',
    fields: [field('Token, or that address', 'token', { type: 'password', required: true })],
    work: async ({ token }) => { setToken(token); await get('/version'); },
  });
  asking = false;
  live.start();
  route(false);
});

const theme = document.getElementById('theme');
function dress() {
  document.documentElement.dataset.theme = theme.value;
  localStorage.setItem('noid.theme', theme.value);
  dispatchEvent(new Event('noid-theme'));
}
theme.value = localStorage.getItem('noid.theme') ?? '';
theme.addEventListener('change', dress);
dress();

document.getElementById('help').addEventListener('click', help);

// Keys of one letter work where nothing is typed, and can be switched off in the help.
addEventListener('keydown', (e) => {
  if (e.ctrlKey || e.altKey || e.metaKey || localStorage.getItem('noid.keys') === 'off') return;
  if (e.target.closest('input, textarea, select, dialog, .terminal, [role=menu]')) return;
  const work = { '?': help, v: () => { location.hash = '#/'; }, d: () => { location.hash = '#/disk'; }, ...view?.keys }[e.key];
  if (!work) return;
  e.preventDefault();
  Promise.resolve(work()).catch(failed);
});

takeToken();
live.start();
route(true);
get('/version').then((v) => { document.getElementById('server').textContent = 'noid ' + v.version; }, () => {});
