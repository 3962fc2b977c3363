// Dialogs: the browser keeps the focus in them, and gives it back when they close.

import { add, el, plain, problem } from './dom.js';

let number = 0;

// field is a labelled input of a form. Its name is the key of its value in what the form gives.
export function field(label, name, props = {}, hint = '') {
  const id = 'field-' + ++number;
  const options = props.options;
  delete props.options;
  let input;
  if (options) {
    input = el('select', { id, name, ...props }, options.map((o) => el('option', { value: o.value ?? o, selected: (o.value ?? o) === props.value }, plain(o.text ?? o))));
  } else if (props.type === 'textarea') {
    delete props.type;
    input = el('textarea', { id, name, spellcheck: 'false', autocapitalize: 'off', ...props });
  } else {
    input = el('input', { id, name, type: 'text', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', ...props });
  }
  if (hint) input.setAttribute('aria-describedby', id + '-hint');
  const tag = el('label', { for: id }, label);
  const about = hint ? el('small', { id: id + '-hint' }, hint) : null;
  return props.type === 'checkbox' ? el('div', { class: 'field check' }, input, tag, about) : el('div', { class: 'field' }, tag, input, about);
}

// values are what a form's fields have: numbers of number fields, true or false of boxes. Empty ones are left out.
export function values(form) {
  const out = {};
  for (const input of form.elements) {
    if (!input.name) continue;
    if (input.type === 'checkbox') out[input.name] = input.checked;
    else if (input.value.trim() !== '') out[input.name] = input.type === 'number' ? Number(input.value) : input.value.trim();
  }
  return out;
}

// ask shows a dialog, and runs work with its values when it is agreed to. While work goes on it can be cancelled; what
// work throws is shown, and one may try again. It returns what work returns, or null if it was cancelled.
export function ask({ title, text = [], fields = [], ok = 'OK', danger = false, work = (v) => v }) {
  return new Promise((resolve) => {
    const id = 'dialog-' + ++number;
    const stop = new AbortController();
    const state = el('div', { class: 'state', role: 'status' });
    const agree = el('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, ok);
    const form = el('form', {}, el('h2', { id }, title), [text].flat().map((t) => el('p', {}, t)), fields, state,
      el('div', { class: 'actions' }, el('button', { type: 'button', onclick: () => box.close() }, 'Cancel'), agree));
    const box = el('dialog', { 'aria-labelledby': id }, form);
    let result = null;
    box.addEventListener('close', () => {
      stop.abort();
      box.remove();
      resolve(result);
    });
    form.addEventListener('submit', async (e) => {
      e.preventDefault();
      if (agree.getAttribute('aria-disabled')) return;
      agree.setAttribute('aria-disabled', 'true');
      state.replaceChildren(el('p', {}, 'Working …'));
      try {
        result = await work(values(form), { told: (e) => tell(state, e), signal: stop.signal });
        box.close();
      } catch (err) {
        if (err.name !== 'AbortError') state.replaceChildren(problem(err));
      } finally {
        agree.removeAttribute('aria-disabled');
      }
    });
    document.body.append(box);
    box.showModal();
    if (danger) form.querySelector('.actions button').focus();
  });
}

// tell shows an event of work that goes on.
function tell(state, e) {
  if (e.name === 'warning') state.append(el('p', { class: 'hint' }, plain(e.doc.text)));
  if (e.name !== 'progress') return;
  const { message, done, total } = e.doc;
  const bar = total ? el('progress', { max: total, value: done, 'aria-label': plain(message) }) : null;
  state.firstChild?.replaceWith(el('p', {}, plain(message), bar));
}

// show is a dialog that only tells something.
export function show(title, ...children) {
  const id = 'dialog-' + ++number;
  const box = el('dialog', { 'aria-labelledby': id });
  add(box, el('h2', { id }, title), children, el('div', { class: 'actions' }, el('button', { type: 'button', class: 'primary', onclick: () => box.close() }, 'Close')));
  box.addEventListener('close', () => box.remove());
  document.body.append(box);
  box.showModal();
}
