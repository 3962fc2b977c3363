// The server's API: documents, events and WebSockets.

const KEY = 'noid.token';

// takeToken keeps the token that the address has in its fragment, for this tab, and removes it from the address bar.
export function takeToken() {
  const found = location.hash.match(/^#token=([^&]+)/);
  if (!found) return;
  sessionStorage.setItem(KEY, decodeURIComponent(found[1]));
  history.replaceState(null, '', location.pathname + '#/');
}

export function setToken(text) {
  sessionStorage.setItem(KEY, text.trim().replace(/^.*#token=/, ''));
}

// Problem is an error that the server has told: RFC 9457, with noid's kind and hint.
export class Problem extends Error {
  constructor(doc, status) {
    super(doc.detail || doc.title || 'the server answers ' + status);
    this.name = 'Problem';
    this.status = status;
    this.kind = doc.kind;
    this.hint = doc.hint;
  }
}

async function request(method, path, body, accept, signal) {
  const headers = { Accept: accept };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.Authorization = 'Bearer ' + token;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let answer;
  try {
    answer = await fetch('/v1' + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: 'no-store' });
  } catch (err) {
    if (err.name === 'AbortError') throw err;
    throw new Problem({ detail: 'the server cannot be reached', hint: 'see whether noid serve still runs' }, 0);
  }
  if (answer.ok) return answer;
  const doc = await answer.json().catch(() => ({}));
  if (answer.status === 401) dispatchEvent(new Event('noid-token'));
  throw new Problem(doc, answer.status);
}

// call is the document that the server answers.
export async function call(method, path, body, signal) {
  return (await request(method, path, body, 'application/json', signal)).json();
}

export const get = (path, signal) => call('GET', path, undefined, signal);

// work is call for what takes long: told is called with each event until the result is there.
export async function work(method, path, body, told = () => {}, signal = undefined) {
  for await (const e of events(method, path, body, signal)) {
    if (e.name === 'result') return e.doc;
    if (e.name === 'error') throw new Problem(e.doc, e.doc.status);
    told(e);
  }
  throw new Problem({ detail: 'the server has ended before the work was done' }, 0);
}

// events yields the server-sent events of an answer: their names and documents.
export async function* events(method, path, body, signal) {
  const answer = await request(method, path, body, 'text/event-stream', signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const e = { name: 'message', data: '' };
      for (const l of block.split('\n')) {
        if (l.startsWith('event: ')) e.name = l.slice(7);
        else if (l.startsWith('data: ')) e.data += l.slice(6);
      }
      if (e.data) yield { name: e.name, doc: JSON.parse(e.data) };
    }
  }
}

// socket is a WebSocket. A browser lets a page name no header for it, but subprotocols: one of them has the token.
export function socket(path) {
  const token = sessionStorage.getItem(KEY);
  const s = new WebSocket((location.protocol === 'https:' ? 'wss:' : 'ws:') + '//' + location.host + '/v1' + path, token ? ['noid.v1', 'noid.bearer.' + token] : ['noid.v1']);
  s.binaryType = 'arraybuffer';
  return s;
}

export const vmPath = (name) => '/vms/' + encodeURIComponent(name);
export const checkpointPath = (name, id) => vmPath(name) + '/checkpoints/' + encodeURIComponent(id);
