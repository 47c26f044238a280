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
