import { isDeepStrictEqual } from 'node:util';
import type { GatewayNews, HostedModel } from '@inference-server/contracts';

/** The runtime models that there are, as private-api last said. */
export interface HostedModels {
  apply(news: GatewayNews): void;
  /** Whether anything was ever said. */
  isKnown(): boolean;
  /** The versions of a model that may be asked, the newest first; the current one is among them. */
  versionsOf(name: string): readonly HostedModel[];
  /** Those before a version that take the same calls. */
  olderAlike(model: HostedModel): readonly HostedModel[];
  get(modelVersionId: string): HostedModel | undefined;
  /** The current versions, by name: the same list as long as they are the same. */
  current(): readonly HostedModel[];
  /** Why a version has no replica, or too few. */
  troubleOf(modelVersionId: string): string | undefined;
}

export function createHostedModels(): HostedModels {
  let known = false;
  let byId = new Map<string, HostedModel>();
  let byName = new Map<string, HostedModel[]>();
  let current: readonly HostedModel[] = [];
  let troubles = new Map<string, string>();
  /** By model version: contracts are compared once, not with each call that finds its replicas full. */
  const alike = new Map<string, HostedModel[]>();

  function findAlike({ human_readable_id: name, version, contract }: HostedModel): HostedModel[] {
    return (byName.get(name) ?? []).filter(
      (other) => other.version < version && isDeepStrictEqual(other.contract, contract),
    );
  }

  return {
    apply({ models, trouble }) {
      known = true;
      troubles = new Map(trouble.map((one) => [one.model_version_id, one.detail]));
      if (models === undefined) return;
      alike.clear();
      byId = new Map(models.map((model) => [model.model_version_id, model]));
      byName = new Map();
      const wanted = models.filter(({ is_current: isCurrent }) => isCurrent);
      wanted.sort((a, b) => (a.human_readable_id < b.human_readable_id ? -1 : 1));
      if (!isDeepStrictEqual(wanted, current)) current = wanted;
      for (const model of [...models].sort((a, b) => b.version - a.version)) {
        const versions = byName.get(model.human_readable_id);
        if (versions === undefined) byName.set(model.human_readable_id, [model]);
        else versions.push(model);
      }
    },
    isKnown: () => known,
    versionsOf: (name) => byName.get(name) ?? [],
    olderAlike(model) {
      const { model_version_id: id } = model;
      const found = alike.get(id) ?? findAlike(model);
      alike.set(id, found);
      return found;
    },
    get: (modelVersionId) => byId.get(modelVersionId),
    current: () => current,
    troubleOf: (modelVersionId) => troubles.get(modelVersionId),
  };
}
