import { expect, it } from 'vitest';
import { descriptionOf } from '../src/docker/description.js';

const old = {
  ID: 'AAAA:BBBB',
  NCPU: 8,
  MemTotal: 33_554_432_000,
  Runtimes: { runc: { path: 'runc' }, 'io.containerd.runc.v2': { path: 'runc' } },
  DefaultRuntime: 'runc',
};

it('describes an engine that knows no CDI', () => {
  expect(descriptionOf(old)).toEqual({
    cpus: 8,
    memoryBytes: 33_554_432_000,
    runtimes: ['io.containerd.runc.v2', 'runc'],
    cdiDevices: [],
    hasUserNamespaces: false,
    hasSeccomp: false,
    cgroupDriver: '',
  });
});

it('names the CDI devices of one that does, and no others', () => {
  const info = {
    ...old,
    CgroupDriver: 'systemd',
    Runtimes: { runc: {}, nvidia: { path: 'nvidia-container-runtime' } },
    CDISpecDirs: ['/etc/cdi', '/var/run/cdi'],
    DiscoveredDevices: [
      { Source: 'cdi', ID: 'nvidia.com/gpu=all' },
      { Source: 'cdi', ID: 'nvidia.com/gpu=0' },
      { Source: 'another', ID: 'other.com/nic=1' },
      { Source: 'cdi' },
    ],
  };
  expect(descriptionOf(info)).toMatchObject({
    runtimes: ['nvidia', 'runc'],
    cdiDevices: ['nvidia.com/gpu=0', 'nvidia.com/gpu=all'],
    cgroupDriver: 'systemd',
  });
});

it.each([
  [['name=seccomp,profile=default', 'name=userns'], true, true],
  [['name=seccomp,profile=builtin', 'name=rootless', 'name=cgroupns'], true, true],
  [['name=apparmor'], false, false],
])(
  'tells what keeps its containers apart: %j',
  (SecurityOptions, hasUserNamespaces, hasSeccomp) => {
    const told = descriptionOf({ ...old, SecurityOptions });
    expect(told).toMatchObject({ hasUserNamespaces, hasSeccomp });
  },
);

it('takes an empty list for null', () => {
  const info = { ...old, Runtimes: null, DiscoveredDevices: null };
  expect(descriptionOf(info)).toMatchObject({ runtimes: [], cdiDevices: [] });
});

it.each([{}, { ...old, NCPU: 0 }, { NCPU: 4 }])('refuses %j', (info) => {
  expect(() => descriptionOf(info)).toThrow(expect.objectContaining({ problem: 'failed' }));
});
