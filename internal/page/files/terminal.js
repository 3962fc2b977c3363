// A shell in a VM, and its serial console, in xterm.js.

import { socket, vmPath } from './api.js';
import { button, el, plain, say } from './dom.js';
import { FitAddon } from './vendor/addon-fit.mjs';
import { Terminal } from './vendor/xterm.mjs';

// xterm.js writes style elements and attributes, which the page's policy refuses. What it writes into elements goes into
// style sheets that the script makes, and an element that shows nothing stands for each; attributes go by the style's API.
const create = document.createElement.bind(document);
document.createElement = (tag, options) => {
  const e = create(tag === 'style' ? 'template' : tag, options);
  if (tag === 'style') {
    const sheet = new CSSStyleSheet();
    Object.defineProperty(e, 'textContent', { set: (text) => sheet.replaceSync(text) });
    e.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet);
      Element.prototype.remove.call(e);
    };
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  } else if (tag === 'span') {
    e.setAttribute = (name, value) => (name === 'style' ? (e.style.cssText = value) : Element.prototype.setAttribute.call(e, name, value));
  }
  return e;
};

const PIECE = 16 << 10; // bytes

export const shell = (vm) => terminal(vm, 'shell');
export const serial = (vm) => terminal(vm, 'console');

async function terminal({ name }, kind) {
  const screen = el('div', { class: 'screen' });
  const state = el('span', { role: 'status' }, 'connecting …');
  const again = button('Connect again', () => connect(), { hidden: true });
  const node = el('div', { class: 'terminal-box' }, el('p', { class: 'bar' }, state, again, el('small', {}, el('kbd', {}, 'F6'), ' leaves the terminal')), screen);
  const term = new Terminal({ screenReaderMode: true, scrollback: 5000, fontSize: 14, fontFamily: 'ui-monospace, monospace', minimumContrastRatio: 4.5, theme: colours(),
    linkHandler: { activate() {} } }); // where a guest's link leads, its text need not say
  const fit = new FitAddon();
  term.loadAddon(fit);
  term.attachCustomKeyEventHandler((e) => {
    if (e.key !== 'F6') return true;
    if (e.type === 'keydown') (again.hidden ? document.querySelector('.tabs [aria-current]') : again).focus();
    e.preventDefault();
    return false;
  });
  let wire = null;
  const send = (data) => wire?.readyState === WebSocket.OPEN && wire.send(data);
  const type = (bytes) => { // of the stream 0, in pieces that the server takes
    for (let i = 0; i < bytes.length; i += PIECE) send(Uint8Array.of(0, ...bytes.subarray(i, i + PIECE)));
  };
  const tell = (message) => send(JSON.stringify({ ...message, cols: term.cols, rows: term.rows }));
  term.onData((text) => type(new TextEncoder().encode(text)));
  term.onBinary((text) => type(Uint8Array.from(text, (c) => c.charCodeAt(0))));
  term.onResize(() => kind === 'shell' && tell({ type: 'resize' }));
  const connect = () => {
    again.hidden = true;
    let exit = '';
    const own = wire = socket(vmPath(name) + '/' + kind);
    own.onopen = () => {
      tell({ type: 'start', term: 'xterm-256color' });
      state.textContent = 'connected';
      term.focus();
    };
    own.onmessage = (e) => {
      if (typeof e.data !== 'string') {
        term.write(new Uint8Array(e.data, 1));
        return;
      }
      const end = JSON.parse(e.data);
      if (end.problem) exit = plain(end.problem.detail ?? end.problem.title);
      else if (kind === 'shell') exit = 'the shell has ended' + (end.exit_code ? ' with ' + end.exit_code : '') + (end.error ? ': ' + plain(end.error) : '');
    };
    own.onclose = (e) => {
      if (wire !== own) return;
      state.textContent = exit || plain(e.reason) || 'not connected';
      again.hidden = false;
      say(state.textContent);
    };
  };
  const resized = new ResizeObserver(() => fit.fit());
  const dressed = () => { term.options.theme = colours(); };
  const system = matchMedia('(prefers-color-scheme: dark)');
  addEventListener('noid-theme', dressed);
  system.addEventListener('change', dressed);
  return {
    node,
    shown() {
      term.open(screen);
      term.textarea.setAttribute('aria-label', kind + ' of ' + name + '; F6 leaves it');
      fit.fit();
      resized.observe(screen);
      connect();
    },
    close() {
      removeEventListener('noid-theme', dressed);
      system.removeEventListener('change', dressed);
      resized.disconnect();
      const own = wire;
      wire = null;
      own?.close();
      term.dispose();
    },
  };
}

// colours are the page's, as its style sheet has them now.
function colours() {
  const probe = el('span', { class: 'terminal-colours' });
  document.body.append(probe);
  const style = getComputedStyle(probe);
  const theme = { background: style.backgroundColor, foreground: style.color, cursor: style.color, selectionBackground: style.outlineColor };
  probe.remove();
  return theme;
}
