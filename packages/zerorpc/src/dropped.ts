/**
 * Why something that came was not looked at any further, or something that was to go out did not:
 * - `form`: no ZeroRPC message: its frames, its MessagePack or its header are out of form
 * - `event`: nothing that an open call takes: an unknown name, or slots that are no number
 * - `channel`: it belongs to a call that is not open (any more)
 * - `repeated`: it would open a call under an id that the client uses already
 * - `peer-gone`, `peer-stuck`: its receiver has gone, or does not take what is sent
 */
export type DropReason = 'form' | 'event' | 'channel' | 'repeated' | 'peer-gone' | 'peer-stuck';
