import BenchKit
import Foundation

/// A program that migrates one database, with a project that does what the application's files do.
struct RivalTool: Sendable {
    /// One word.
    var name: String
    var version: String
    /// Forgets in one database what was deployed.
    var forget: String
    /// How it is told where a database is, without quotes or blanks.
    var address: @Sendable (BenchCluster.Place) -> String
    /// Command lines, in the folder of the project.
    var deploy: @Sendable (_ address: String) -> String
    var status: @Sendable (_ address: String) -> String
    /// The files of the project, by their paths in its folder.
    var project: @Sendable ([MigrationText]) -> [(path: String, text: String)]

    /// Those that are here, or can be had.
    static func all(_ stage: MigrateStage) throws -> [RivalTool] {
        let tools = [try sqitch(stage), try alembic(stage)].compactMap(\.self)
        print("beside it: \(tools.map(\.version).joined(separator: ", "))")
        return tools
    }

    /// - Returns: nil where it is not installed.
    private static func sqitch(_ stage: MigrateStage) throws -> RivalTool? {
        let version = try shell("sqitch --version 2>/dev/null || true").trimmed
        guard !version.isEmpty else {
            print("sqitch is not installed; its part is skipped")
            return nil
        }
        return RivalTool(
            name: "sqitch", version: version,
            forget: "truncate sqitch.changes, sqitch.dependencies, sqitch.events, sqitch.tags",
            address: { "db:pg://postgres@127.0.0.1:\($0.server.port)/\($0.database)" },
            deploy: { "sqitch deploy --quiet --no-verify \"\($0)\"" },
            status: { "sqitch status \"\($0)\" > /dev/null" },
            project: { files in
                let configuration = """
                    [core]
                        engine = pg
                    [engine "pg"]
                        client = \(stage.psql)
                    [user]
                        name = bench
                        email = bench@example.com

                    """
                let changes = files.map {
                    "step_\($0.name) 2026-01-01T00:00:00Z b <b@example.com> # x"
                }
                let plan = ["%syntax-version=1.0.0", "%project=bench", ""] + changes + [""]
                return [
                    ("sqitch.conf", configuration),
                    ("sqitch.plan", plan.joined(separator: "\n")),
                ]
                    + files.map {
                        ("deploy/step_\($0.name).sql", "begin;\n\($0.sql)\ncommit;\n")
                    }
            })
    }

    /// From the package registry, into a folder of the bench.
    ///
    /// - Returns: nil where that does not work.
    private static func alembic(_ stage: MigrateStage) throws -> RivalTool? {
        let home = "\(stage.folder)/alembic"
        let program = "\(home)/bin/alembic"
        if !FileManager.default.isExecutableFile(atPath: program) {
            try shell(
                """
                { python3 -m venv '\(home)' && '\(home)/bin/pip' install --quiet alembic \
                psycopg2-binary; } > '\(home).log' 2>&1 || true
                """)
        }
        let version = try shell("'\(program)' --version 2>/dev/null || true").trimmed
        guard !version.isEmpty else {
            print("alembic cannot be installed; its part is skipped")
            return nil
        }
        let command = "\(program) -c alembic.ini -x \"url="
        return RivalTool(
            name: "alembic", version: version, forget: "truncate public.alembic_version",
            address: {
                "postgresql+psycopg2://postgres@127.0.0.1:\($0.server.port)/\($0.database)"
            },
            deploy: { command + $0 + "\" upgrade head" },
            status: { command + $0 + "\" current > /dev/null" },
            project: { files in
                let environment = """
                    from alembic import context
                    from sqlalchemy import create_engine
                    from sqlalchemy.pool import NullPool

                    url = context.get_x_argument(as_dictionary=True)["url"]
                    with create_engine(url, poolclass=NullPool).connect() as connection:
                        context.configure(
                            connection=connection, transaction_per_migration=True)
                        with context.begin_transaction():
                            context.run_migrations()

                    """
                let steps = files.enumerated().map { place, file in
                    let before = place == 0 ? "None" : "\"\(files[place - 1].name)\""
                    let text = """
                        from alembic import op

                        revision = "\(file.name)"
                        down_revision = \(before)

                        def upgrade():
                            op.get_bind().exec_driver_sql(\"\"\"\(file.sql)\"\"\")

                        """
                    return ("steps/versions/step_\(file.name).py", text)
                }
                return [
                    ("alembic.ini", "[alembic]\nscript_location = steps\n"),
                    ("steps/env.py", environment),
                ] + steps
            })
    }
}
