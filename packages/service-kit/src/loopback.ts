/** Whether only this machine can reach what listens at this address. */
export function isLoopbackAddress(host: string): boolean {
  // A socket of both versions of IP names an address of the older one as one of the newer.
  return host === 'localhost' || host === '::1' || /^(?:::ffff:)?127(\.\d{1,3}){3}$/.test(host);
}
