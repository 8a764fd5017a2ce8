import Core
import Testing

@Suite("Metrics")
struct MetricsTests {
    @Test("the page is the Prometheus text format: families by name, series in order of their making")
    func page() {
        let metrics = Metrics()
        metrics.counter("granary_b_total", help: "Bees.", labels: [("kind", "a\"b\\c\nd")]).add(3)
        metrics.counter("granary_b_total", help: "Bees.", labels: [("kind", "x")]).add()
        metrics.gauge("granary_a", help: "A.") { 2.5 }
        let histogram = metrics.histogram("granary_c_seconds", help: "C.", buckets: [0.5, 1])
        for value in [0.25, 0.5, 0.75, 7] { histogram.observe(value) }
        #expect(
            metrics.render() == """
                # HELP granary_a A.
                # TYPE granary_a gauge
                granary_a 2.5
                # HELP granary_b_total Bees.
                # TYPE granary_b_total counter
                granary_b_total{kind="a\\"b\\\\c\\nd"} 3
                granary_b_total{kind="x"} 1
                # HELP granary_c_seconds C.
                # TYPE granary_c_seconds histogram
                granary_c_seconds_bucket{le="0.5"} 2
                granary_c_seconds_bucket{le="1"} 3
                granary_c_seconds_bucket{le="+Inf"} 4
                granary_c_seconds_sum 8.5
                granary_c_seconds_count 4

                """)
    }

    @Test("a series asked for twice is one series; a gauge registered twice reads the last")
    func identity() {
        let metrics = Metrics()
        metrics.counter("granary_x_total", help: "X.").add()
        metrics.counter("granary_x_total", help: "X.").add()
        #expect(metrics.counter("granary_x_total", help: "X.").value == 2)
        metrics.gauge("granary_y", help: "Y.") { 1 }
        metrics.gauge("granary_y", help: "Y.") { 2 }
        #expect(metrics.render().contains("granary_y 2\n"))
    }

    @Test("labels cannot grow a family without end: the rest is counted as other")
    func bounded() {
        let metrics = Metrics()
        for index in 0..<1000 { metrics.counter("granary_x_total", help: "X.", labels: [("name", "\(index)")]).add() }
        // A series that was there before the limit is still itself.
        metrics.counter("granary_x_total", help: "X.", labels: [("name", "7")]).add()
        let page = metrics.render()
        #expect(page.split(separator: "\n").filter { !$0.hasPrefix("#") }.count == Metrics.seriesMax + 1)
        #expect(page.contains("granary_x_total{name=\"other\"} \(1000 - Metrics.seriesMax)\n"))
        #expect(page.contains("granary_x_total{name=\"7\"} 2\n"))
    }
}
