"""Checks events of OpenLineage: python3 openlineage.py < events.json

The rules are those of https://openlineage.io/spec/2-0-2/OpenLineage.json and of the standard facets, written down here in our own words: what is required,
of which type and form it is, and that a standard facet has what its own schema requires. Prints what is wrong, a line each; nothing if all is well.
"""
import datetime
import json
import re
import sys

URI = re.compile(r'^[A-Za-z][A-Za-z0-9+.-]*:\S+$')
UUID = re.compile(r'^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$')
# Of each facet: where it may stand, and its required members with their types.
FACETS = {
    'nominalTime': ('run', {'nominalStartTime': 'time'}),
    'errorMessage': ('run', {'message': str, 'programmingLanguage': str}),
    'processing_engine': ('run', {'version': str}),
    'datamill': ('run', {'run_id': int}),
    'sql': ('job', {'query': str}),
    'jobType': ('job', {'processingType': str, 'integration': str}),
    'version': ('dataset', {'datasetVersion': str}),
    'schema': ('dataset', {'fields': list}),
    'inputStatistics': ('input', {}),
    'outputStatistics': ('output', {'rowCount': int}),
}
problems = []


def need(ok, where, what):
    if not ok:
        problems.append('%s: %s' % (where, what))
    return ok


def is_time(text):
    """A date-time of RFC 3339, which the schema asks for."""
    if not isinstance(text, str) or not re.match(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$', text):
        return False
    datetime.datetime.fromisoformat(re.sub('Z$', '+00:00', text))
    return True


def facets(where, place, found):
    need(isinstance(found, dict), where, 'facets are no object')
    for name, facet in found.items():
        at = where + '.' + name
        if not need(name in FACETS and FACETS[name][0] == place, at, 'no such facet here'):
            continue
        for field in ('_producer', '_schemaURL'):
            need(isinstance(facet.get(field), str) and URI.match(facet[field]), at, field + ' is no URI')
        url = facet.get('_schemaURL', '')
        if name != 'datamill':
            title = url.rsplit('/', 1)[-1]
            need(re.match(r'^https://openlineage\.io/spec/facets/\d+-\d+-\d+/%s\.json#/\$defs/%s$' % (title, title), url), at, '_schemaURL ' + url)
        for field, kind in FACETS[name][1].items():
            value = facet.get(field)
            need(is_time(value) if kind == 'time' else isinstance(value, kind) and not isinstance(value, bool), at, field + ' is lacking or wrong')
        for field in ('rowCount', 'size'):
            need(field not in facet or isinstance(facet[field], int), at, field)
        for column in facet.get('fields', []):
            need(isinstance(column.get('name'), str) and isinstance(column.get('type'), str), at, 'a field without name or type')


def dataset(where, place, found):
    for field in ('namespace', 'name'):
        need(isinstance(found.get(field), str) and found[field], where, field + ' is lacking')
    need(set(found) <= {'namespace', 'name', 'facets', place + 'Facets'}, where, 'other members: %s' % sorted(found))
    facets(where + '.facets', 'dataset', found.get('facets', {}))
    facets(where + '.%sFacets' % place, place, found.get(place + 'Facets', {}))


def event(where, found):
    need(set(found) <= {'eventType', 'eventTime', 'producer', 'schemaURL', 'run', 'job', 'inputs', 'outputs'}, where, 'other members: %s' % sorted(found))
    need(found.get('eventType') in ('START', 'RUNNING', 'COMPLETE', 'ABORT', 'FAIL', 'OTHER'), where, 'eventType')
    need(is_time(found.get('eventTime')), where, 'eventTime')
    need(URI.match(found.get('producer', '')), where, 'producer')
    need(found.get('schemaURL') == 'https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent', where, 'schemaURL')
    need(UUID.match(found['run']['runId']), where, 'runId')
    facets(where + '.run', 'run', found['run'].get('facets', {}))
    for field in ('namespace', 'name'):
        need(isinstance(found['job'].get(field), str), where, 'job without ' + field)
    facets(where + '.job', 'job', found['job'].get('facets', {}))
    for place in ('input', 'output'):
        for i, one in enumerate(found[place + 's']):
            dataset('%s.%s[%d]' % (where, place, i), place, one)


events = json.load(sys.stdin)
for number, one in enumerate(events):
    event('event %d' % number, one)
need(len({one['run']['runId'] for one in events}) <= 1, 'events', 'of several runs')
for problem in problems:
    print(problem)
