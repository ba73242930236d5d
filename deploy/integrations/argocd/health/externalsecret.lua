-- Health of an ExternalSecret for Argo CD. Stands in argocd-cm as
-- resource.customizations.health.external-secrets.io_ExternalSecret, instead of Argo CD's own, which
-- takes what is said about an older generation for an answer. The original controller names no
-- generation; its objects are read as before.
local status = obj.status or {}
local observed = status.observedGeneration
if observed ~= nil and observed ~= obj.metadata.generation then
  return {status = "Progressing", message = "waiting for the controller to see this generation"}
end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions.Ready or {status = "Unknown"}
local message = ready.message or "waiting for the controller"
if conditions.Stalled ~= nil and conditions.Stalled.status == "True" then
  return {status = "Degraded", message = message}
end
if conditions.Reconciling ~= nil and conditions.Reconciling.status == "True" then
  return {status = "Progressing", message = message}
end
if observed == nil and ready.status == "False" then
  return {status = "Degraded", message = message}
end
if ready.status == "True" then
  return {status = "Healthy", message = message}
end
return {status = "Progressing", message = message}
