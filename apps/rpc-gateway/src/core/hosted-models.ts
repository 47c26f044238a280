import { isDeepStrictEqual } from 'node:util';
import type { BatchModel, GatewayNews, HostedModel } from '@inference-server/contracts';

export type AnyModel = HostedModel | BatchModel;

/** Whether it is a runtime model: a batch model, which is asked by tasks, has no contract. */
export function isHosted(model: AnyModel): model is HostedModel {
  return 'contract' in model;
}

/** The models that there are, as private-api last said. */
export interface HostedModels {
  apply(news: GatewayNews): void;
  /** Whether anything was ever said. */
  isKnown(): boolean;
  /** The versions of a runtime model that may be asked, the newest first; the current one is among them. */
  versionsOf(name: string): readonly HostedModel[];
  /** Those before a version that take the same calls. */
  olderAlike(model: HostedModel): readonly HostedModel[];
  get(modelVersionId: string): HostedModel | undefined;
  /** Of a batch model there is no version but its current one. */
  batchModel(name: string): BatchModel | undefined;
  /** The current versions, by name: the same list as long as they are the same. */
  current(): readonly AnyModel[];
  /** Why a version has no replica, or too few. */
  troubleOf(modelVersionId: string): string | undefined;
}

export function createHostedModels(): HostedModels {
  let known = false;
  let byId = new Map<string, HostedModel>();
  let byName = new Map<string, HostedModel[]>();
  let batchByName = new Map<string, BatchModel>();
  let current: readonly AnyModel[] = [];
  let troubles = new Map<string, string>();
  /** By model version: contracts are compared once, not with each call that finds its replicas full. */
  const alike = new Map<string, HostedModel[]>();

  function findAlike({ human_readable_id: name, version, contract }: HostedModel): HostedModel[] {
    return (byName.get(name) ?? []).filter(
      (other) => other.version < version && isDeepStrictEqual(other.contract, contract),
    );
  }

  return {
    apply({ models, batch_models: batchModels = [], trouble }) {
      known = true;
      troubles = new Map(trouble.map((one) => [one.model_version_id, one.detail]));
      if (models === undefined) return;
      alike.clear();
      batchByName = new Map(batchModels.map((model) => [model.human_readable_id, model]));
      byId = new Map(models.map((model) => [model.model_version_id, model]));
      byName = new Map();
      const wanted = [...models.filter(({ is_current: isCurrent }) => isCurrent), ...batchModels];
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
    batchModel: (name) => batchByName.get(name),
    current: () => current,
    troubleOf: (modelVersionId) => troubles.get(modelVersionId),
  };
}
