import Postgres

/// Times as HTTP writes them: `Mon, 23 Nov 2026 10:15:02 GMT` (RFC 9110, 5.6.7).
enum HTTPDate {
    private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// - Precondition: the time lies in the years 1970 to 9999.
    static func text(of time: Timestamp) -> String {
        // 1970 began on a Thursday.
        let day = Int(time.microsecondsSince1970 / 86_400_000_000)
        // 2026-11-23T10:15:02.113Z
        let text = Array(time.rfc3339)
        let month = (Int(String(text[5...6])) ?? 1) - 1
        return weekdays[day % 7] + ", " + String(text[8...9]) + " " + months[month] + " "
            + String(text[0...3]) + " " + String(text[11...18]) + " GMT"
    }
}
