# A thousand services of twenty: the page is drawn in a moment, with closed services. In one go,
# since the next answer replaces them.
# shellcheck shell=bash

drawn=$(evaluate "(() => {
    const real = r => ({address: '10.0.' + r + '.1', state: 'up', weight: 1, active: 1,
        inactive: 0, connections: 5, packets: 5, bytes: 5});
    const service = n => ({name: 'service-' + n, listen: ['192.0.2.10:' + n + '/tcp'],
        scheduler: 'wlc', reals: Array.from({length: 20}, (_, r) => real(r))});
    list = {services: Array.from({length: 1000}, (_, n) => service(n))};
    const start = performance.now();
    measure(Date.now());
    showServices();
    const count = what => document.querySelectorAll('#services ' + what).length;
    const pace = performance.now() - start < 10000 ? 'quick' : 'slow';
    return count('details') + ' services, ' + count('tbody tr') + ' rows, ' + pace;
})()" )
expect_eq "drawn of 1,000 services of 20" "$drawn" '"1000 services, 0 rows, quick"'
