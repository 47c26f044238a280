import Type, { type Static } from 'typebox';
import { storedNumberPattern } from './stored-integer.js';

/**
 * The capabilities that a container may be given at all: those that engines give by themselves, but for the
 * making of devices and raw packets, and two that programs for calculations want. With any other one the host
 * is as good as theirs.
 */
export const Capability = Type.Enum([
  ...['AUDIT_WRITE', 'CHOWN', 'DAC_OVERRIDE', 'FOWNER', 'FSETID', 'IPC_LOCK', 'KILL'],
  ...['NET_BIND_SERVICE', 'SETFCAP', 'SETGID', 'SETPCAP', 'SETUID', 'SYS_CHROOT', 'SYS_NICE'],
]);

/** A network that somebody has made in the engine: not the host's own, nor another container's. */
export const NetworkName = Type.String({
  pattern: '^(?!(?:none|host|default)$)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$',
  description: 'A network of the engine, by its name.',
});

const uid = `(?:${storedNumberPattern})`;
const gid = `(?:0|${storedNumberPattern})`;

/** Of a user and a group, for what names both: no engine takes larger numbers. */
export const userAndGroupPattern = `^${uid}:${gid}$`;

/** Never root: that an image's user may be. */
export const UserNumber = Type.String({
  pattern: `^${uid}(?::${gid})?$`,
  description: 'uid, or uid:gid; not root.',
});

/** What a model asks of its sandbox. */
export const Rights = Type.Object({
  network: Type.Union([NetworkName, Type.Null()], {
    description: 'The network of the engine that its runs have; null: none.',
  }),
  user: Type.Union([UserNumber, Type.Null()], {
    description: 'Whom its runs run as; null: the user of the image.',
  }),
  read_only_root: Type.Boolean({
    description: 'Whether its runs can write to /output, /tmp and /dev/shm alone.',
  }),
  cap_add: Type.Array(Capability, {
    description: 'Capabilities that its runs have, where they run as root.',
  }),
});
export type Rights = Static<typeof Rights>;

/** Of a model that asks for nothing. */
export const usualRights: Rights = {
  network: null,
  user: null,
  read_only_root: false,
  cap_add: [],
};
