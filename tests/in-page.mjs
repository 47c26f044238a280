// What tests have a page in a browser do. Each function is sent there alone: it uses nothing of this file.

/** Puts a page of `url` into a frame. */
export function frame(url) {
  const { document } = globalThis;
  const element = document.createElement('iframe');
  element.src = url;
  document.body.append(element);
}

/** Whether the frame holds something that this page may not look into. */
export function frameIsForeign() {
  return globalThis.document.querySelector('iframe').contentDocument === null;
}

/**
 * Loads what is at `url` into an image, a script or a style: `load` or `error`.
 *
 * @param {{ tag: 'img' | 'script' | 'link', url: string }} what
 * @returns {Promise<string>}
 */
export async function embed({ tag, url }) {
  const { document } = globalThis;
  const element = document.createElement(tag);
  element.setAttribute(tag === 'link' ? 'href' : 'src', url);
  element.setAttribute('rel', 'stylesheet');
  const ended = new Promise((resolve) => {
    for (const type of ['load', 'error']) element.addEventListener(type, () => resolve(type));
  });
  document.body.append(element);
  return ended;
}

/**
 * Status and text of an answer, or the name of the error.
 *
 * @param {{ url: string, method: string, headers: Record<string, string> }} call
 * @returns {Promise<string>}
 */
export async function read({ url, ...call }) {
  try {
    const answer = await fetch(url, call);
    return `${answer.status} ${await answer.text()}`;
  } catch (error) {
    return error.name;
  }
}

/** Calls `tellViolation`, which the test gives the page, for all that a content policy refuses. */
export function tellOfViolations() {
  globalThis.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
    globalThis.tellViolation(`${violatedDirective}: ${blockedURI}`);
  });
}

/** Writes a style and a script into the page, as an attacker would. */
export function writeIn() {
  globalThis.document.body.innerHTML += '<style>b { color: red }</style><b onclick="x">x</b>';
}

/** Puts a page without an origin of its own into a frame: it may run scripts and send forms, nothing else. */
export function frameOf(html) {
  const { document } = globalThis;
  const element = document.createElement('iframe');
  element.setAttribute('sandbox', 'allow-scripts allow-forms');
  element.srcdoc = html;
  document.body.append(element);
}

/**
 * The kind and the status of an answer, or the name of the error.
 *
 * @param {{ url: string, method: string, headers: Record<string, string>, zipText: string, mode: string }} asked
 * @returns {Promise<string>}
 */
export async function call({ url, zipText, ...init }) {
  const body = Uint8Array.from(zipText, (character) => character.charCodeAt(0));
  try {
    const answer = await fetch(url, { ...init, ...(init.method === 'POST' && { body }) });
    return `${answer.type} ${answer.status}`;
  } catch (error) {
    return error.name;
  }
}

/**
 * Sends a form with a zip, as a person would who is led to press its button.
 *
 * @param {{ url: string, enctype: string, zipText: string }} what
 */
export function postForm({ url, enctype, zipText }) {
  const { DataTransfer, File, document } = globalThis;
  const form = document.createElement('form');
  Object.assign(form, { action: url, method: 'POST', enctype });
  const file = document.createElement('input');
  Object.assign(file, { type: 'file', name: 'zip_file' });
  const chosen = new DataTransfer();
  const bytes = Uint8Array.from(zipText, (character) => character.charCodeAt(0));
  chosen.items.add(new File([bytes], 'a.zip', { type: 'application/zip' }));
  file.files = chosen.files;
  form.append(file);
  document.body.append(form);
  // Once this has returned: the page is another after that.
  setTimeout(() => form.submit());
}

/**
 * Opens a WebSocket (ws:) or a stream of events: `open` or `error`.
 *
 * @param {string} url
 * @returns {Promise<string>}
 */
export function listenTo(url) {
  const { EventSource, WebSocket } = globalThis;
  const heard = url.startsWith('ws:') ? new WebSocket(url) : new EventSource(url);
  return new Promise((resolve) => {
    for (const type of ['open', 'error']) {
      heard.addEventListener(type, () => {
        heard.close();
        resolve(type);
      });
    }
  });
}
