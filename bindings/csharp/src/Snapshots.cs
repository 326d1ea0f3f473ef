using System;
using System.IO;

namespace Dsv4
{
    /// <summary>How a snapshot is compressed.</summary>
    public sealed class SnapshotOptions
    {
        /// <summary>zstd's level, -7 (fastest) to 19 (smallest); 0: 1.</summary>
        public int Level { get; set; }
        /// <summary>Store everything as it is.</summary>
        public bool Uncompressed { get; set; }

        internal static dsv4_snapshot_options ToNative(SnapshotOptions own)
        {
            Native.dsv4_snapshot_options_init(out dsv4_snapshot_options native, Interop.SizeOf<dsv4_snapshot_options>());
            if (own == null) return native;
            native.level = own.Level;
            native.uncompressed = Interop.Flag(own.Uncompressed);
            return native;
        }
    }

    public sealed partial class Session
    {
        /// <summary>Writes the session: tokens, state, conversation, an interrupted turn with its options and random
        /// numbers. An exception of the stream goes on from here.</summary>
        public void Save(Stream stream, SnapshotOptions options = null)
        {
            var callbacks = new StreamCallbacks(stream);
            dsv4_snapshot_options native = SnapshotOptions.ToNative(options);
            using (var user = new UserData(callbacks))
            {
                int status = Native.dsv4_session_save(Handle, Callbacks.Write, user.User, ref native, out IntPtr error);
                Errors.Finish(callbacks, status, error);
            }
        }

        /// <summary>Writes the session to a file, beside it and then renamed: the path holds what it held before or a
        /// whole snapshot.</summary>
        public void Save(string path, SnapshotOptions options = null)
        {
            dsv4_snapshot_options native = SnapshotOptions.ToNative(options);
            Errors.Check(Native.dsv4_session_save_path(Handle, Utf8.EncodeTerminated(path, nameof(path)), ref native,
                out IntPtr error), error);
        }

        /// <summary>Makes the session what the snapshot says: all of it or, on an error, nothing. Takes as many bytes
        /// as the snapshot has and no more. An exception of the stream goes on from here.</summary>
        public void Restore(Stream stream)
        {
            var callbacks = new StreamCallbacks(stream);
            using (var user = new UserData(callbacks))
            {
                int status = Native.dsv4_session_restore(Handle, Callbacks.Read, user.User, out IntPtr error);
                Errors.Finish(callbacks, status, error);
            }
        }

        /// <summary>Restores from a file.</summary>
        public void Restore(string path) => Errors.Check(Native.dsv4_session_restore_path(Handle,
            Utf8.EncodeTerminated(path, nameof(path)), out IntPtr error), error);
    }

    /// <summary>Reads the headers of snapshots; nothing behind them is read or checked.</summary>
    public static class Snapshot
    {
        /// <summary>Of a stream.</summary>
        public static SnapshotInfo Peek(Stream stream)
        {
            var callbacks = new StreamCallbacks(stream);
            var info = new dsv4_snapshot_info { struct_size = Interop.SizeOf<dsv4_snapshot_info>() };
            using (var user = new UserData(callbacks))
            {
                int status = Native.dsv4_snapshot_peek(Callbacks.Read, user.User, ref info, out IntPtr error);
                Errors.Finish(callbacks, status, error);
            }
            return new SnapshotInfo(info);
        }

        /// <summary>Of a file.</summary>
        public static SnapshotInfo Peek(string path)
        {
            var info = new dsv4_snapshot_info { struct_size = Interop.SizeOf<dsv4_snapshot_info>() };
            Errors.Check(Native.dsv4_snapshot_peek_path(Utf8.EncodeTerminated(path, nameof(path)), ref info,
                out IntPtr error), error);
            return new SnapshotInfo(info);
        }
    }

    /// <summary>What a snapshot's header says.</summary>
    public sealed class SnapshotInfo
    {
        internal SnapshotInfo(dsv4_snapshot_info i)
        {
            Fingerprint = i.fingerprint;
            Tokens = i.tokens;
            Evaluated = i.evaluated;
            Context = i.context;
            StateBytes = i.state_bytes;
            Vocab = i.vocab;
            Layers = i.layers;
            FormatVersion = i.format_version;
            Profile = (Profile)i.profile;
            Driven = (Driven)i.driven;
            Draft = i.draft == 1;
            Interrupted = i.interrupted == 1;
        }

        /// <summary>Of the model, see <see cref="ModelInfo"/>.</summary>
        public ulong Fingerprint { get; }
        /// <summary>On its timeline.</summary>
        public ulong Tokens { get; }
        /// <summary>Of them, reflected in the state.</summary>
        public ulong Evaluated { get; }
        /// <summary>Of the session that was saved.</summary>
        public ulong Context { get; }
        /// <summary>Of the state, before compression.</summary>
        public ulong StateBytes { get; }
        /// <summary>Of the model.</summary>
        public long Vocab { get; }
        /// <summary>Of the state, the draft head's included.</summary>
        public long Layers { get; }
        /// <summary>Of the snapshot.</summary>
        public int FormatVersion { get; }
        /// <summary>That was in force.</summary>
        public Profile Profile { get; }
        /// <summary>By messages or by tokens.</summary>
        public Driven Driven { get; }
        /// <summary>Of a session with <see cref="SessionOptions.Draft"/>.</summary>
        public bool Draft { get; }
        /// <summary>Its last turn was interrupted, and can be resumed.</summary>
        public bool Interrupted { get; }
    }
}
