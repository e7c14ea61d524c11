"""metrics_check.py EXPOSITION CONTRIB: what a scrape and the monitoring files hold, as JSON on standard output.

The exposition is read by Prometheus' own parser for Python, the files by PyYAML and json; what does not parse ends it.
"""
import json
import os
import re
import sys

import yaml
from prometheus_client.parser import text_string_to_metric_families

exposition, folder = sys.argv[1:]


def document(name):
    with open(os.path.join(folder, name)) as file:
        return yaml.safe_load(file)  # JSON is YAML


def metrics_in(expression):
    return sorted(set(re.findall(r'\bprofenrich_\w+', expression)))


with open(exposition) as file:
    text = file.read()
samples = [{'name': s.name, 'labels': s.labels, 'value': s.value, 'type': f.type, 'help': f.documentation}
           for f in text_string_to_metric_families(text) for s in f.samples]
with open(os.path.join(folder, 'grafana-dashboard.json')) as file:
    dashboard = json.load(file)
collector = document('profenrich.collector.yml')
exporter = document('sql_exporter.yml')
rules = [rule for group in document('alerts.yml')['groups'] for rule in group['rules']]
expressions = ([t['expr'] for p in dashboard['panels'] for t in p['targets']] +
               [v['query'] for v in dashboard['templating']['list']] + [r['expr'] for r in rules])
json.dump({
    'samples': samples,
    'collector': collector['metrics'],
    'collector_is_named': collector['collector_name'] in exporter['target']['collectors'],
    'collector_is_found': os.path.exists(os.path.join(folder, exporter['collector_files'][0])),
    'used': sorted({m for e in expressions for m in metrics_in(e)}),
    'labels': sorted({l for e in expressions for l in re.findall(r'(\w+)=~', e)} |
                     {l for r in rules for l in re.findall(r'\$labels\.(\w+)', str(r))} |
                     {l for p in dashboard['panels'] for t in p['targets'] for l in re.findall(r'\{\{(\w+)\}\}', t['legendFormat'])}),
    'balanced': all(e.count(a) == e.count(b) for e in expressions for a, b in ('()', '{}', '[]')),
    'panels': len(dashboard['panels']),
    'panel_ids': len({p['id'] for p in dashboard['panels']}),
    'rules': len(rules)}, sys.stdout)
