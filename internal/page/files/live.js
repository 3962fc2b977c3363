// What happens at the server: the list of VMs, as it changes.

import { events } from './api.js';

const listeners = new Set();
let stop = null;

// on calls told with each list of VMs, the last one at once. It returns what ends that.
let last = null;
export function on(told) {
  listeners.add(told);
  if (last) queueMicrotask(() => listeners.has(told) && told(last));
  return () => listeners.delete(told);
}

// start begins to listen, or begins anew, until the page goes. A lost connection is made again.
export async function start() {
  stop?.abort();
  const own = stop = new AbortController();
  const state = document.getElementById('live');
  for (let wait = 1000; !own.signal.aborted; wait = Math.min(2 * wait, 30000)) {
    try {
      for await (const e of events('GET', '/events', undefined, own.signal)) {
        state.textContent = 'live';
        wait = 1000;
        if (e.name !== 'vms') continue;
        last = e.doc;
        for (const told of listeners) told(last);
      }
    } catch (err) {
      if (err.name === 'AbortError' || err.status === 401) return;
    }
    state.textContent = 'connection lost';
    await new Promise((done) => setTimeout(done, wait));
  }
}
