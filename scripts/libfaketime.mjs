/** Debian's libfaketime: what is preloaded to give a process another clock. */
export function libfaketime() {
  const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  return `/usr/lib/${machine}-linux-gnu/faketime/libfaketimeMT.so.1`;
}
