import { readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { expect } from 'vitest';

/** One look that a container takes at itself, and what it is to see: line by line. */
export interface Expectation {
  /** Also the name of its test, which `docs/sandbox.md` names. */
  name: string;
  /** Shell lines; what they write, on both streams, is what is seen. */
  look: string;
  sees: unknown;
}

const mib = 1024 ** 2;

/** Of both generations of cgroups, whichever file is there. */
const limitIn = (...files: string[]) =>
  `cd /sys/fs/cgroup; for f in ${files.join(' ')}; do test -e $f && cat $f; done; true`;

/** Tries to write; a folder's owner may give itself the right first. What is masked is a /dev/null. */
const writableAmong = (places: string) =>
  `for p in ${places}; do
     test -c $p && continue
     if test -d $p; then chmod u+w $p; touch $p/probe; else dd if=/dev/null of=$p conv=notrunc; fi >/dev/null 2>&1 && echo $p
   done; true`;

/**
 * What a model's container with an image that runs as root sees, the worst case, of a model that asks for
 * nothing. The limits are those of the test's consumer.
 */
export const expectations: readonly Expectation[] = [
  {
    name: 'holds no capability, in any set',
    look: 'grep "^Cap" /proc/self/status',
    sees: ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'].map((set) => `Cap${set}:\t${'0'.repeat(16)}`),
  },
  {
    name: 'gains no privileges by a program',
    look: 'grep "^NoNewPrivs:" /proc/self/status',
    sees: ['NoNewPrivs:\t1'],
  },
  {
    name: 'is filtered by seccomp',
    look: 'grep "^Seccomp:" /proc/self/status',
    sees: ['Seccomp:\t2'],
  },
  {
    name: 'is refused what reaches the kernel',
    look: `mount -t tmpfs none /tmp && echo mounted; unshare -U true && echo unshared
      mknod /tmp/disk b 254 0 && echo made; chroot / true && echo chrooted
      dmesg && echo told; true`,
    sees: ['mount', 'unshare', 'mknod', 'chroot', 'dmesg'].map((name): unknown =>
      expect.stringMatching(new RegExp(`^${name}: .*(not permitted|permission denied)`)),
    ),
  },
  {
    name: 'runs as the user of its image, in no other group',
    look: 'id -u; id -g; grep "^Groups:" /proc/self/status',
    sees: ['0', '0', 'Groups:\t0 '],
  },
  {
    name: 'has no network but the loopback',
    look: 'ls /sys/class/net; tail -n +3 /proc/net/dev | cut -d: -f1',
    sees: ['lo', expect.stringMatching(/^ *lo$/)],
  },
  {
    name: 'has no route and no name server',
    look: 'tail -n +2 /proc/net/route; grep -v " lo$" /proc/net/ipv6_route; cat /etc/resolv.conf 2>/dev/null; nc -w 1 1.1.1.1 53 </dev/null; true',
    sees: [expect.stringContaining('unreachable')],
  },
  {
    name: 'has the mounts of the engine and its own volumes, no others',
    // With user namespaces in the engine each device is mounted.
    look: "cut -d' ' -f5 /proc/self/mountinfo | grep -v '^/proc/.\\|^/sys/.' | while read p; do test -c $p || echo $p; done | sort",
    sees: [
      ...['/', '/dev', '/dev/mqueue', '/dev/pts', '/dev/shm', '/etc/hostname', '/input', '/model'],
      ...['/output', '/proc', '/sbin/docker-init', '/sys'],
    ],
  },
  {
    name: 'can write to its own layer, /output and memory, nowhere else',
    look: writableAmong("$(cut -d' ' -f5 /proc/self/mountinfo | sort)"),
    // Of /etc/hostname see docs/sandbox.md. The folder of cgroups is a tmpfs of its own with cgroup v1.
    sees: expect.toSatisfy(
      (places: string[]) =>
        places.filter((place) => place !== '/sys/fs/cgroup').join(' ') ===
        '/ /dev /dev/mqueue /dev/shm /etc/hostname /output',
      'the places that are known',
    ),
  },
  {
    name: 'cannot write to /input and /model',
    look: 'cat /model/weights; echo; touch /input/new /model/new; rm /input/run.sh; true',
    sees: ['weights', ...Array<unknown>(3).fill(expect.stringContaining('Read-only file system'))],
  },
  {
    name: 'has the plain devices and no others',
    look: 'cd /dev; find . -type c -o -type b | cut -c3- | sort',
    sees: [
      ...['full', 'null', 'pts/ptmx', 'random', 'tty', 'urandom', 'zero'],
      // The names of a terminal appear only with one.
    ],
  },
  {
    name: 'finds no socket of the host’s',
    look: 'find / -xdev -type s; ls /var/run/docker.sock /run/docker.sock; tail -n +2 /proc/net/unix',
    sees: Array<unknown>(2).fill(expect.stringContaining('No such file')),
  },
  {
    name: 'is held to its number of processes',
    look: limitIn('pids/pids.max', 'pids.max'),
    sees: ['100'],
  },
  {
    name: 'is held to its memory, without swap',
    look: limitIn(
      ...['memory/memory.limit_in_bytes', 'memory/memory.memsw.limit_in_bytes'],
      ...['memory.max', 'memory.swap.max'],
    ),
    // Of version 1 the sum of both.
    sees: [`${64 * mib}`, expect.stringMatching(new RegExp(`^(${64 * mib}|0)$`))],
  },
  {
    name: 'is held to its cores',
    look: limitIn('cpu/cpu.cfs_quota_us', 'cpu.max'),
    sees: [expect.stringMatching(/^100000( 100000)?$/)],
  },
  {
    name: 'has a /dev/shm of its size',
    look: 'df -k /dev/shm | tail -n 1',
    sees: [expect.stringMatching(/\s1024\s/)],
  },
  {
    name: 'shares no namespace with the host but those of the user and the time',
    look: ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts']
      .map((kind) => `readlink /proc/self/ns/${kind}`)
      .join('; '),
    sees: ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts'].map((kind): unknown =>
      expect.toSatisfy(
        (seen: string) =>
          seen.startsWith(`${kind}:[`) && seen !== readlinkSync(`/proc/self/ns/${kind}`),
        `another ${kind} than the host's`,
      ),
    ),
  },
  {
    name: 'sees its own processes alone',
    look: 'ls /proc | grep "^[0-9]" | sort -n | head -n 2; cat /proc/1/comm',
    sees: ['1', expect.stringMatching(/^\d{1,3}$/), 'docker-init'],
  },
  {
    name: 'does not see where the host keeps it',
    look: 'cut -d: -f3 /proc/self/cgroup | sort -u',
    sees: ['/'],
  },
  {
    name: 'has a host name that says nothing of the host',
    look: 'hostname; cat /etc/hostname',
    sees: Array<unknown>(2).fill(
      expect.toSatisfy((name: string) => /^[0-9a-f]{12}$/.test(name) && name !== hostname()),
    ),
  },
  {
    name: 'has an environment of four names',
    look: "tr '\\0' '\\n' < /proc/1/environ | cut -d= -f1 | sort",
    sees: ['HOME', 'HOSTNAME', 'NVIDIA_VISIBLE_DEVICES', 'PATH'],
  },
  {
    name: 'sees nothing of what the engine masks',
    look: `for f in acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi; do
        test -d /proc/$f && ls -A /proc/$f; head -c 10 /proc/$f; done 2>/dev/null; ls -A /sys/firmware`,
    sees: [],
  },
  {
    name: 'cannot change the kernel’s settings',
    look: 'for f in sys/kernel/hostname sys/vm/overcommit_memory sysrq-trigger; do (echo 1 > /proc/$f) 2>/dev/null && echo $f; done; true',
    sees: [],
  },
  {
    name: 'leaves no core, and no file beyond its length',
    look: 'ulimit -Hc; ulimit -Sc; ulimit -Hf; (ulimit -c unlimited && echo raised) 2>/dev/null; true',
    // In blocks of 512 bytes.
    sees: ['0', '0', `${(1024 * mib) / 512}`],
  },
];
