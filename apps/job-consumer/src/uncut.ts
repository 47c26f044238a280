import { setMaxListeners } from 'node:events';

/**
 * For calls that are quick and must not be cut short: a creation that was cut could still come true
 * in the engine, after the cleaning. The engine's own deadlines bound them.
 */
export const uncut = new AbortController().signal;
// All attempts share it.
setMaxListeners(0, uncut);
