// A menu at a button: arrow keys, Home and End move in it, Enter chooses, Esc and Tab close it.

import { el, failed } from './dom.js';

// openMenu shows choices, [text, work] each, below the button at.
export function openMenu(at, title, choices) {
  document.querySelector('[role=menu]')?.remove();
  const items = choices.map(([text, work]) => el('button', {
    type: 'button', role: 'menuitem', tabindex: '-1',
    onclick: () => {
      close();
      Promise.resolve(work()).catch(failed);
    },
  }, text));
  const menu = el('div', { role: 'menu', 'aria-label': title }, items);
  const close = () => {
    if (!menu.isConnected) return;
    menu.remove();
    at.removeAttribute('aria-expanded');
    at.focus();
  };
  menu.addEventListener('keydown', (e) => {
    const i = items.indexOf(document.activeElement), n = items.length;
    const to = { ArrowDown: (i + 1) % n, ArrowUp: (i + n - 1) % n, Home: 0, End: n - 1 }[e.key];
    if (to !== undefined) items[to].focus();
    else if (e.key === 'Escape' || e.key === 'Tab') close();
    else return;
    e.preventDefault();
    e.stopPropagation();
  });
  menu.addEventListener('focusout', (e) => {
    if (e.relatedTarget && !menu.contains(e.relatedTarget)) {
      menu.remove();
      at.removeAttribute('aria-expanded');
    }
  });
  at.setAttribute('aria-expanded', 'true');
  at.after(menu);
  items[0].focus();
  menu.scrollIntoView({ block: 'nearest' });
}

addEventListener('pointerdown', (e) => {
  const menu = document.querySelector('[role=menu]');
  if (menu && !menu.contains(e.target)) {
    menu.previousElementSibling?.removeAttribute('aria-expanded');
    menu.remove();
  }
});
