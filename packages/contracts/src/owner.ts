/**
 * The header of private-api in which public-api says whose request it relays: 1 to 200 printable
 * characters of ASCII. From anybody else it is refused; public-api never passes a caller's own on.
 */
export const ownerHeader = 'inference-owner';

/** Whom public-api names as long as it knows nobody. */
export const anonymousOwner = 'anonymous';
