{{/* The name of the software. */}}
{{- define "sealkit.name" -}}
{{- .Values.nameOverride | default "sealkit" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the Deployment. It does not depend on the release: a cluster has one installation. */}}
{{- define "sealkit.fullname" -}}
{{- .Values.fullnameOverride | default "seal-controller" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "sealkit.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "sealkit.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{/* What selects the pods. It never changes, so an installation by kustomize can be taken over. */}}
{{- define "sealkit.selector" -}}
app.kubernetes.io/name: {{ include "sealkit.name" . }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "sealkit.labels" -}}
app.kubernetes.io/name: {{ include "sealkit.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sealkit.controllerLabels" -}}
{{ include "sealkit.labels" . }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "sealkit.subjects" -}}
- kind: ServiceAccount
  name: {{ include "sealkit.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Values that the controller reads from its environment, but for those that are left to it. */}}
{{- define "sealkit.settings" -}}
{{- range $variable, $value := dict
  "SEALKIT_ADOPT_NAMESPACES" (join "," .Values.sealedSecrets.adoptNamespaces)
  "SEALKIT_ALLOWED_ALGORITHMS" (join "," .Values.keys.allowedAlgorithms)
  "SEALKIT_ALLOWED_SCOPES" (join "," .Values.sealedSecrets.allowedScopes)
  "SEALKIT_ALLOW_CONTROLLER_IDENTITY" (ternary "true" "" .Values.controllerIdentity)
  "SEALKIT_CONCURRENCY" .Values.concurrency
  "SEALKIT_CONTROLLER_CLASS" .Values.externalSecrets.controllerClass
  "SEALKIT_DENY_TEMPLATE_METADATA" (join "," .Values.sealedSecrets.denyTemplateMetadata)
  "SEALKIT_EXTERNAL_SECRETS" (ternary "" "false" .Values.externalSecrets.enabled)
  "SEALKIT_EXTERNAL_SECRETS_OWNERSHIP" .Values.externalSecrets.ownership
  "SEALKIT_KEY_GRACE_SECONDS" .Values.keys.graceSeconds
  "SEALKIT_LEASE_SECONDS" .Values.leaseSeconds
  "SEALKIT_LOG" .Values.log
  "SEALKIT_RESTART_WINDOW" .Values.restart.window
  "SEALKIT_RESTART_WORKLOADS" (ternary "true" "" .Values.restart.enabled)
  "SEALKIT_STORE_CHECK_SECONDS" .Values.externalSecrets.storeCheckSeconds
  "SEALKIT_TAKE_OVER" (ternary "true" "" .Values.externalSecrets.takeOver)
  "SEALKIT_WATCH_INTERVAL" .Values.externalSecrets.watchInterval
  "SEALKIT_WATCH_NAMESPACES" (join "," .Values.watchNamespaces)
}}
{{- include "sealkit.setting" (list $variable $value) }}
{{- end }}
{{- if .Values.webhook.enabled }}
{{- range $variable, $value := dict
  "SEALKIT_WEBHOOK_CA_OVERLAP_SECONDS" .Values.webhook.caOverlapSeconds
  "SEALKIT_WEBHOOK_CERT_DIR" (ternary "/webhook" "" .Values.webhook.certManager.enabled)
  "SEALKIT_WEBHOOK_LISTEN" (printf "0.0.0.0:%d" (int64 .Values.webhook.port))
  "SEALKIT_WEBHOOK_NAMES" (join "," .Values.webhook.names)
}}
{{- include "sealkit.setting" (list $variable $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sealkit.setting" -}}
{{- $value := last . }}
{{- if $value }}
- name: {{ first . }}
  value: {{ kindIs "string" $value | ternary $value (int64 $value) | quote }}
{{- end }}
{{- end }}

{{/* What the controller may do in each namespace that it serves. The reasons stand in rbac-controller.yaml. */}}
{{- define "sealkit.servedRules" -}}
- apiGroups: [sealkit.dev]
  resources: [sealedsecrets]
  verbs: [get, list, watch]
- apiGroups: [sealkit.dev]
  resources: [sealedsecrets/status]
  verbs: [update]
- apiGroups: [sealkit.dev]
  resources: [sealedsecrets/finalizers]
  verbs: [update]
- apiGroups: [sealkit.dev]
  resources: [rewraprequests]
  verbs: [get, list, watch, delete]
- apiGroups: [sealkit.dev]
  resources: [rewraprequests/status]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- if and .Values.externalSecrets.takeOver .Values.watchNamespaces }}
- apiGroups: [external-secrets.io]
  resources: [externalsecrets]
  verbs: [patch]
{{- end }}
{{- if .Values.externalSecrets.enabled }}
- apiGroups: [external-secrets.io]
  resources: [externalsecrets, secretstores]
  verbs: [get, list, watch]
- apiGroups: [external-secrets.io]
  resources: [externalsecrets/status, externalsecrets/finalizers, secretstores/status]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
{{- end }}
{{- end }}
