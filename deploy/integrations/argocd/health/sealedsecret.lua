-- Health of a SealedSecret for Argo CD. Stands in argocd-cm as
-- resource.customizations.health.sealkit.dev_SealedSecret. The resource follows kstatus: what is
-- said about an older generation says nothing about this one.
if obj.spec ~= nil and obj.spec.suspend == true then
  return {status = "Suspended", message = "suspended by spec.suspend"}
end
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
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
if ready.status == "True" then
  return {status = "Healthy", message = message}
end
return {status = "Progressing", message = message}
