// Text and arrays on their way to C and back: by hand, because netstandard2.0 marshals no UTF-8.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace Dsv4
{
    internal static class Utf8
    {
        // A string that is not Unicode (half a surrogate pair) is an exception and not a question mark.
        private static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        internal static byte[] Encode(string text)
        {
            if (text == null) throw new ArgumentNullException(nameof(text));
            return Strict.GetBytes(text);
        }

        /// <summary>For const char * that ends at its NUL: a text with a NUL inside is refused, not cut.</summary>
        internal static byte[] EncodeTerminated(string text, string name)
        {
            if (text == null) throw new ArgumentNullException(name);
            if (text.IndexOf('\0') >= 0) throw new ArgumentException("has a NUL character inside", name);
            return Strict.GetBytes(text + "\0");
        }

        internal static string Decode(IntPtr text)
        {
            if (text == IntPtr.Zero) return "";
            int length = 0;
            while (Marshal.ReadByte(text, length) != 0) ++length;
            return Decode(text, length);
        }

        internal static string Decode(IntPtr text, UIntPtr length) => Decode(text, checked((int)length.ToUInt64()));

        private static string Decode(IntPtr text, int length)
        {
            if (length == 0) return "";
            var bytes = new byte[length];
            Marshal.Copy(text, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }
    }

    internal static class Interop
    {
        internal static UIntPtr Length<T>(T[] items)
        {
            if (items == null) throw new ArgumentNullException(nameof(items));
            return (UIntPtr)(uint)items.Length;
        }

        internal static UIntPtr SizeOf<T>() where T : struct => (UIntPtr)(uint)Marshal.SizeOf<T>();

        internal delegate int Fill<T>(T[] items, UIntPtr capacity, out UIntPtr count, out IntPtr error);

        /// <summary>Asks a function of the header for the size of its answer, and then for the answer.</summary>
        internal static T[] Fetch<T>(Fill<T> fill)
        {
            Errors.Check(fill(null, UIntPtr.Zero, out UIntPtr count, out IntPtr error), error);
            var items = new T[checked((int)count.ToUInt64())];
            if (items.Length != 0) Errors.Check(fill(items, count, out count, out error), error);
            return items;
        }

        internal static string FetchText(Fill<byte> fill) => Encoding.UTF8.GetString(Fetch(fill));

        internal static int Flag(bool set) => set ? 1 : 0;
    }

    /// <summary>Native memory for the time of one call: what the fields of an options struct point to.</summary>
    internal sealed class NativeMemory : IDisposable
    {
        private readonly List<IntPtr> blocks = new List<IntPtr>();

        internal IntPtr Allocate(int bytes)
        {
            IntPtr block = Marshal.AllocHGlobal(bytes);
            blocks.Add(block);
            return block;
        }

        /// <summary>A terminated string; NULL for null.</summary>
        internal IntPtr Text(string text, string name)
        {
            if (text == null) return IntPtr.Zero;
            byte[] bytes = Utf8.EncodeTerminated(text, name);
            IntPtr block = Allocate(bytes.Length);
            Marshal.Copy(bytes, 0, block, bytes.Length);
            return block;
        }

        /// <summary>char **; NULL for none.</summary>
        internal IntPtr Texts(ICollection<string> texts, string name, out UIntPtr count)
        {
            count = (UIntPtr)(uint)(texts?.Count ?? 0);
            if (texts == null || texts.Count == 0) return IntPtr.Zero;
            IntPtr block = Allocate(texts.Count * IntPtr.Size);
            int at = 0;
            foreach (string text in texts)
            {
                if (text == null) throw new ArgumentNullException(name);
                Marshal.WriteIntPtr(block, at, Text(text, name));
                at += IntPtr.Size;
            }
            return block;
        }

        public void Dispose()
        {
            foreach (IntPtr block in blocks) Marshal.FreeHGlobal(block);
            blocks.Clear();
        }
    }
}
